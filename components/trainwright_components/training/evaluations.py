"""What the evaluator found: a line of JSON per checkpoint, in the folder of the trained model. Knows no TensorFlow."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainwright_components.metrics.directions import is_maximized
from trainwright_components.training.recovery.previous import move_files, place_aside

EVALUATOR_FOLDER = "evaluator"
BEST_CHECKPOINT = f"{EVALUATOR_FOLDER}/best.npz"
_RECORD = f"{EVALUATOR_FOLDER}/evaluations.jsonl"
OTHERWISE = "val_loss"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The score of one checkpoint.

    Args:
        training: The key of the training run that wrote it.
        epoch: The number of the epoch that it lies in, from 0.
        seconds: Spent on it.
    """

    training: str
    step: int
    epoch: int
    metrics: dict[str, float]
    seconds: float


def read_evaluations(model_folder: Path) -> list[Evaluation]:
    """The record in `model_folder`, in the order of its steps; a line that was cut off is left out."""
    record = model_folder / _RECORD
    if not record.is_file():
        return []
    lines = [line for line in record.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return sorted((Evaluation(**json.loads(line)) for line in lines), key=lambda one: one.step)


def begin_record(model_folder: Path, training: str) -> list[Evaluation]:
    """Make the record ready for more lines of `training`; returns those that are there.

    Those of another training run are moved to where its checkpoints are, and found again there.
    """
    record = model_folder / _RECORD
    if others := [one.training for one in read_evaluations(model_folder) if one.training != training]:
        move_files(record.parent, place_aside(model_folder, others[-1]) / EVALUATOR_FOLDER)
    move_files(place_aside(model_folder, training) / EVALUATOR_FOLDER, record.parent)
    known = [one for one in read_evaluations(model_folder) if one.training == training]
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("".join(map(_line, known)))
    return known


def add_evaluation(model_folder: Path, evaluation: Evaluation) -> None:
    """Append a line to the record."""
    with (model_folder / _RECORD).open("a") as record:
        record.write(_line(evaluation))


def best_evaluation(evaluations: Sequence[Evaluation], monitor: str) -> Evaluation | None:
    """The best by `monitor`, or by the loss where that is not a metric of validation."""
    if not evaluations:
        return None
    name = monitor if monitor in evaluations[0].metrics else OTHERWISE
    sign = -1 if is_maximized(name) else 1
    return min(evaluations, key=lambda one: sign * one.metrics[name])


def _line(evaluation: Evaluation) -> str:
    return json.dumps(asdict(evaluation)) + "\n"
