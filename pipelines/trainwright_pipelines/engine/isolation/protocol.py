"""What steps run in, and what a step is once it has started, wherever it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    """How a step ended; the code is minus the signal's number if a signal ended it, None if it is not known.

    `reason` is what ended it where the exit code does not say it, `image` what it ran in, empty for this machine, and
    `brought` copies of outputs that lay inside of that, by the paths that the step named.
    """

    code: int | None
    reason: str = ""
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    image: str = ""
    brought: Mapping[str, Path] = field(default_factory=dict)


class StartedStep(Protocol):
    """One attempt, that another thread waits for, and that can be stopped meanwhile."""

    def start(self) -> int | None:
        """Start it and give the id of its process; None where it has none here, or was stopped before. May block."""

    def wait(self) -> StepEnd:
        """Wait for its end.

        Raises:
            TimeoutError: It took too long, and was asked to end, or killed.
        """

    def stop(self, *, at_once: bool) -> None:
        """Ask it to end, or kill it."""

    def abandon(self) -> None:
        """End what nobody waits for, also what is only just starting."""


class Isolation(Protocol):
    """What the steps of one run are started in, and ended with."""

    def step(self, launch: Any, *, log: Path, timeout_s: float | None) -> StartedStep:
        """A step that has not started yet, from a launch of this isolation's own kind."""

    def close(self) -> None:
        """End all that runs."""
