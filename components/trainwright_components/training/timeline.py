"""The timeline of a training run: speed, learning rate, checkpoints, roll backs. Survives restarts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_MOST_POINTS = 400
_LEAST_S = 1.0
_STORED_AS = "course"  # the key in checkpoints and training.json of every release: both stay readable


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the timeline.

    Args:
        at_s: Seconds of training, over all processes that took part in it one after another.
        examples_per_second: Over the seconds just before.
    """

    step: int
    at_s: float
    examples_per_second: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint that was written.

    Args:
        at_s: As in `Point`.
        took_s: Seconds that writing took; None of one that was read again.
    """

    step: int
    size_bytes: int
    took_s: float | None
    at_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """A return to a checkpoint, because the loss or a weight was NaN or infinite.

    Args:
        step: Where it was found.
        to_step: The step of the checkpoint.
        learning_rate: From then on.
    """

    step: int
    to_step: int
    reason: str
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """How far the weights were from those of one device after the first `steps` steps."""

    steps: int
    largest_difference: float


@dataclass(kw_only=True)
class Timeline:
    """The timeline of one training run; plain JSON by `to_json`.

    Args:
        changes: In words, what was changed of its code and its settings before it continued.
    """

    points: list[Point] = field(default_factory=list)
    checkpoints: list[SavedCheckpoint] = field(default_factory=list)
    roll_backs: list[RollBack] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)
    equivalence: Equivalence | None = None
    changes: list[str] = field(default_factory=list)

    def note(self, *, step: int, at_s: float, batch_size: int, learning_rate: float, is_last: bool = False) -> None:
        """Add a point, at most one per second and the last; of too many, every second one goes."""
        last = self.points[-1] if self.points else Point(step=0, at_s=0.0, examples_per_second=0.0, learning_rate=0.0)
        took_s = at_s - last.at_s
        if step <= last.step or took_s <= 0 or (took_s < _LEAST_S and not is_last):
            return
        rate = (step - last.step) * batch_size / took_s
        self.points.append(Point(step=step, at_s=at_s, examples_per_second=rate, learning_rate=learning_rate))
        if len(self.points) > _MOST_POINTS:
            del self.points[:-1:2]

    def add_checkpoint(self, saved: SavedCheckpoint) -> None:
        """Add a checkpoint, in place of one that was of the same step just before."""
        if self.checkpoints and self.checkpoints[-1].step == saved.step:
            self.checkpoints.pop()
        self.checkpoints.append(saved)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            points=[Point(**point) for point in content["points"]],
            checkpoints=[SavedCheckpoint(**one) for one in content["checkpoints"]],
            roll_backs=[RollBack(**one) for one in content["roll_backs"]],
            resumed_at=list(content["resumed_at"]),
            equivalence=Equivalence(**content["equivalence"]) if content["equivalence"] else None,
            changes=list(content.get("changes", ())),  # older files have none
        )


def with_stored_timeline(record: Mapping[str, Any], timeline: Mapping[str, Any]) -> dict[str, Any]:
    """`record`, which has a field `timeline`, as files hold it."""
    return {**{name: value for name, value in record.items() if name != "timeline"}, _STORED_AS: timeline}


def with_read_timeline(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `with_stored_timeline` gave, with a `Timeline` again."""
    timeline = Timeline.from_json(stored[_STORED_AS])
    return {**{name: value for name, value in stored.items() if name != _STORED_AS}, "timeline": timeline}
