"""What is known of a training run that gave no model, for the page about it."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.files import write_whole
from trainwright_components.training.evaluations import read_evaluations
from trainwright_components.training.recovery.checkpoints import (
    DAMAGED,
    Checkpoint,
    checkpoint_files,
    checkpoint_name,
    read_checkpoint,
)
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.position import Position
from trainwright_components.training.result import FINGERPRINT, TrainingResult, read_result, record_of
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER

logger = logging.getLogger(__name__)

UNFINISHED_FILE = "unfinished.json"


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """How far a training run came.

    Args:
        result: What it gave until it failed.
        checkpoint: The name of the file that the same training goes on from; empty when there is none.
    """

    result: TrainingResult
    checkpoint: str = ""


def write_unfinished(
    result: TrainingResult, identity: Identity, *, settings: dict[str, Any], cluster: dict[str, int]
) -> None:
    """Leave what a training run gave until it failed; without a word to its caller if that cannot be written either."""
    record = {**record_of(result, settings=settings, cluster=cluster), FINGERPRINT: identity.to_json()}
    try:
        write_whole(result.model_folder / UNFINISHED_FILE, json.dumps(record))
    except OSError as error:
        logger.warning("what was reached is not written down: %s", error)


def read_unfinished(model_folder: Path, identity: Identity) -> Unfinished:
    """How far a training run came: by what it left when it failed, or by its newest checkpoint if it was killed later.

    Args:
        model_folder: The folder of the trained model.
        identity: Of the training, with or without its model; what others left there does not count.
    """
    checkpoint = _newest(model_folder, identity)
    known = [_of_checkpoint(model_folder, checkpoint)]
    file = model_folder / UNFINISHED_FILE
    if file.is_file() and identity.is_begun_alike(Identity.from_json(json.loads(file.read_text())[FINGERPRINT])):
        known.insert(0, read_result(model_folder, UNFINISHED_FILE))  # which knows more of the same step
    return Unfinished(
        result=max(known, key=lambda result: result.steps),
        checkpoint=checkpoint_name(checkpoint.step) if checkpoint is not None else "",
    )


def _newest(model_folder: Path, identity: Identity) -> Checkpoint | None:
    for path in checkpoint_files(model_folder / CHECKPOINTS_FOLDER):
        try:
            checkpoint = read_checkpoint(path.read_bytes())
        except DAMAGED:
            continue
        if identity.is_begun_alike(checkpoint.identity):
            return checkpoint
    return None


def _of_checkpoint(model_folder: Path, checkpoint: Checkpoint | None) -> TrainingResult:
    position = Position.from_json(checkpoint.progress["position"]) if checkpoint is not None else Position()
    return TrainingResult(
        history=position.history,
        metrics=position.history[-1] if position.history else {},
        steps=position.step,
        seconds=position.seconds,
        model_folder=model_folder,
        timeline=position.timeline,
        evaluations=read_evaluations(model_folder) if checkpoint is not None else [],
    )
