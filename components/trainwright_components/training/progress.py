"""Lines that say how far a training run is, how fast, and how long it will take."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class ProgressLines:
    """At most one line per `every_s` seconds, and the last.

    Args:
        step: Steps already done before this process began.
    """

    epochs: int
    steps_per_epoch: int
    batch_size: int
    every_s: float
    step: int = 0
    _since: float = field(default_factory=time.monotonic)
    _step_since: int = -1
    _started: float = field(default_factory=time.monotonic)
    _step_started: int = -1

    def __post_init__(self) -> None:
        self._step_since = self._step_started = self.step

    def report(self, step: int, metrics: Mapping[str, float], *, is_last: bool = False) -> None:
        """Note that `step` steps are done in all; perhaps write a line."""
        now = time.monotonic()
        if now - self._since < self.every_s and not is_last:
            return
        total = self.epochs * self.steps_per_epoch
        rate = (step - self._step_since) / max(now - self._since, 1e-9)
        overall = (step - self._step_started) / max(now - self._started, 1e-9)
        numbers = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        left = "" if is_last or not overall else f", {_duration((total - step) / overall)} left"
        logger.info(
            "epoch %d/%d, step %d/%d, %s examples/s%s: %s",
            min(-(-step // self.steps_per_epoch), self.epochs),
            self.epochs,
            step,
            total,
            f"{(overall if is_last else rate) * self.batch_size:,.0f}",
            left,
            numbers,
        )
        self._since, self._step_since = now, step


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
