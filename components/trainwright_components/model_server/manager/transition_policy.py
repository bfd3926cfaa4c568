"""In which order a model moves from the versions it serves to those it should: one action at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol


class VersionPhase(Enum):
    """A version as a transition policy sees it."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    ENDING = "ending"
    ENDED = "ended"


class Action(Enum):
    """What to do with a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, kw_only=True)
class VersionView:
    """One version of a model, and whether it should be served."""

    version: int
    is_aspired: bool
    phase: VersionPhase


class TransitionPolicy(Protocol):
    """Choose the next action for one model."""

    def next_action(self, versions: Sequence[VersionView]) -> tuple[Action, int] | None:
        """The action and its version; None while there is nothing to do but wait."""


class AvailabilityPreserving:
    """Load before unloading: while any version is aspired, at least one that answers stays."""

    def next_action(self, versions: Sequence[VersionView]) -> tuple[Action, int] | None:
        """See `TransitionPolicy.next_action`."""
        aspired = [view for view in versions if view.is_aspired]
        leaving = sorted(v.version for v in versions if not v.is_aspired and v.phase is VersionPhase.READY)
        is_served = any(view.phase is VersionPhase.READY for view in aspired)
        if leaving and (not aspired or is_served or len(leaving) > 1):
            return Action.UNLOAD, leaving[0]
        return _highest_new(aspired)


class ResourcePreserving:
    """Unload before loading: memory never holds both versions; the model may be away meanwhile."""

    def next_action(self, versions: Sequence[VersionView]) -> tuple[Action, int] | None:
        """See `TransitionPolicy.next_action`."""
        leaving = [view for view in versions if not view.is_aspired and view.phase is not VersionPhase.ENDED]
        for view in leaving:
            if view.phase is VersionPhase.READY:
                return Action.UNLOAD, view.version
        if leaving:
            return None
        return _highest_new([view for view in versions if view.is_aspired])


def _highest_new(aspired: Sequence[VersionView]) -> tuple[Action, int] | None:
    new = [view.version for view in aspired if view.phase is VersionPhase.NEW]
    return (Action.LOAD, max(new)) if new else None


if TYPE_CHECKING:
    _: tuple[type[TransitionPolicy], ...] = (AvailabilityPreserving, ResourcePreserving)
