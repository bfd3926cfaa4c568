"""Stop when a metric no longer gets better, and remember the best weights; all of it survives a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainwright_components.metrics.directions import is_maximized
from trainwright_components.training.monitor import check_monitor
from trainwright_components.training.recovery.checkpoints import Arrays


@dataclass(kw_only=True)
class EarlyStopping:
    """Watches `monitor` after each epoch.

    Args:
        patience: Epochs without a better value before training stops.
        best_weights: Of the best epoch, by name.
    """

    monitor: str
    patience: int
    best: float | None = None
    best_epoch: int = -1
    best_weights: Arrays = field(default_factory=dict)

    @property
    def is_maximized(self) -> bool:
        """Whether higher values are better."""
        return is_maximized(self.monitor)

    def is_better(self, metrics: Mapping[str, float]) -> bool:
        """Whether `metrics` beat the best so far.

        Raises:
            InvalidSetting: There is no such metric.
        """
        check_monitor(self.monitor, metrics)
        value = metrics[self.monitor]
        return self.best is None or (value > self.best if self.is_maximized else value < self.best)

    def note_best(self, epoch: int, metrics: Mapping[str, float], weights: Arrays) -> None:
        """Take epoch number `epoch`, counted from 0, as the best."""
        self.best, self.best_epoch, self.best_weights = metrics[self.monitor], epoch, weights

    def should_stop(self, epoch: int) -> bool:
        """Whether `patience` epochs have gone without a better one."""
        return epoch - self.best_epoch >= self.patience

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def restore(self, values: Mapping[str, Any], weights: Arrays) -> None:
        """Go on from what `to_json` gave."""
        self.best, self.best_epoch, self.best_weights = values["best"], values["best_epoch"], weights
