"""What a training run gave, and how training.json holds it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.cluster.supervisor import Restart
from trainwright_components.reuse import NOT_KEPT
from trainwright_components.training.evaluations import Evaluation, best_evaluation, read_evaluations
from trainwright_components.training.timeline import Timeline, with_read_timeline, with_stored_timeline
from trainwright_components.training.trained_model import TRAINING_FILE

_NOT_STORED = ("model_folder", "restarts", "evaluations", "best_checkpoint")
FINGERPRINT = "training"
_BESIDE = ("settings", "cluster", "inputs", FINGERPRINT)  # in training.json, but no part of the result


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run gave.

    Args:
        history: The metrics of each epoch.
        metrics: The metrics of the epoch whose weights were kept.
        steps: Optimizer steps.
        seconds: Spent in the loop, by this process and those it went on from.
        stop_reason: Why it ended before its last epoch; empty otherwise.
        resumed_at: The step that this process began with.
        timeline: What happened along the way.
        evaluations: What the evaluator found, where there was one.
        best_checkpoint: The step and the metrics of the checkpoint that it found best, as `best_checkpoint_NAME`.
        notes: What is worth saying about the settings, such as those without effect.
        restarts: Members of the cluster that started again; only whoever watches over them knows, not training.json.
    """

    history: list[dict[str, float]]
    metrics: dict[str, float]
    steps: int
    seconds: float
    model_folder: Path
    examples_per_second: float = 0.0
    strategy: str = ""
    strategy_reason: str = ""
    replicas: int = 1
    stop_reason: str = ""
    resumed_at: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    notes: list[str] = field(default_factory=list)
    restarts: tuple[Restart, ...] = ()
    evaluations: list[Evaluation] = field(default_factory=list)
    best_checkpoint: dict[str, float] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """The metrics, and how far the weights were from those of one device if that was measured."""
        found = self.timeline.equivalence
        return self.metrics if found is None else {**self.metrics, "difference_to_one_device": found.largest_difference}

    @property
    def reuse(self) -> dict[str, str]:
        """What keeps these results from standing for a later run: changes on the way, which are in no key."""
        return {NOT_KEPT: "; ".join(self.timeline.changes)} if self.timeline.changes else {}


def record_of(result: TrainingResult, *, settings: dict[str, Any], cluster: dict[str, int]) -> dict[str, Any]:
    """What training.json holds."""
    values = {name: value for name, value in asdict(result).items() if name not in _NOT_STORED}
    return {**with_stored_timeline(values, values["timeline"]), "settings": settings, "cluster": cluster}


def read_result(model_folder: Path, file: str = TRAINING_FILE) -> TrainingResult:
    """The result that a training in another process recorded."""
    record = json.loads((model_folder / file).read_text())
    values = {name: value for name, value in record.items() if name not in _BESIDE}
    evaluations = read_evaluations(model_folder)
    best = best_evaluation(evaluations, record["settings"]["monitor"])
    return TrainingResult(
        **with_read_timeline(values),
        model_folder=model_folder,
        evaluations=evaluations,
        best_checkpoint=_as_metrics(best) if best is not None else {},
    )


def _as_metrics(evaluation: Evaluation) -> dict[str, float]:
    values = {"step": evaluation.step, **evaluation.metrics}
    return {f"best_checkpoint_{name}": value for name, value in values.items()}
