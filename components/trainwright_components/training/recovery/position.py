"""Where a training run stands, as its checkpoints hold it."""

from dataclasses import dataclass, field
from typing import Any, Self

from trainwright_components.training.timeline import Timeline, with_read_timeline, with_stored_timeline


@dataclass(kw_only=True)
class Position:
    """Where a training run stands.

    Args:
        step: Optimizer steps taken in all.
        epoch: The number of the current epoch, from 0.
        step_in_epoch: Steps taken of it.
        history: Metrics of each finished epoch.
        seconds: Spent training by this and earlier processes.
        stop_reason: Why it ended before its last epoch; empty while it has not.
        timeline: Speed, checkpoints, roll backs.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    stop_reason: str = ""
    timeline: Timeline = field(default_factory=Timeline)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return with_stored_timeline(vars(self), self.timeline.to_json())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**with_read_timeline(content))
