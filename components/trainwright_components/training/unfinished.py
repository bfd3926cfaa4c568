"""What is known of a training that gave no model, for the page about it."""

import json
import logging
from pathlib import Path
from typing import Any

from trainwright_components.files import write_whole
from trainwright_components.training.members.evaluations import read_evaluations
from trainwright_components.training.recovery.checkpoints import DAMAGED, checkpoint_files, read_checkpoint
from trainwright_components.training.recovery.position import Position
from trainwright_components.training.result import TrainingResult, read_result, record_of
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER

logger = logging.getLogger(__name__)

UNFINISHED_FILE = "unfinished.json"


def write_unfinished(result: TrainingResult, *, settings: dict[str, Any], cluster: dict[str, int]) -> None:
    """Leave what a training gave until it failed; without a word to its caller if that cannot be written either."""
    content = json.dumps(record_of(result, settings=settings, cluster=cluster))
    try:
        write_whole(result.model_folder / UNFINISHED_FILE, content)
    except OSError as error:
        logger.warning("what was reached is not written down: %s", error)


def read_unfinished(model_folder: Path) -> TrainingResult:
    """How far a training came: by what it left when it failed, or by its newest checkpoint if it was killed later."""
    known = [_of_checkpoint(model_folder)]
    if (model_folder / UNFINISHED_FILE).is_file():
        known.append(read_result(model_folder, UNFINISHED_FILE))
    return max(known, key=lambda result: result.steps)


def _of_checkpoint(model_folder: Path) -> TrainingResult:
    evaluations = read_evaluations(model_folder)
    for path in checkpoint_files(model_folder / CHECKPOINTS_FOLDER):
        try:
            checkpoint, _ = read_checkpoint(path.read_bytes())
        except DAMAGED:
            continue
        position = Position.from_json(checkpoint.progress["position"])
        return TrainingResult(
            history=position.history,
            metrics=position.history[-1] if position.history else {},
            steps=position.step,
            seconds=position.seconds,
            model_folder=model_folder,
            course=position.course,
            evaluations=evaluations,
        )
    return TrainingResult(
        history=[], metrics={}, steps=0, seconds=0.0, model_folder=model_folder, evaluations=evaluations
    )
