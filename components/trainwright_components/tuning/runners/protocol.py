"""What a place is where trials run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trainwright_components.tuning.space import Value


class RunningTrial(Protocol):
    """A trial that was started."""

    def fileno(self) -> int:
        """Readable when the trial has ended."""
        ...

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the trial runs."""
        ...

    def kill(self) -> None:
        """End the trial and all its processes at once, whatever it does; `poll` tells when it has ended."""
        ...

    def close(self) -> None:
        """End the trial if it still runs."""
        ...


class TrialRunner(Protocol):
    """Starts trials."""

    def start(self, folder: Path, params: Mapping[str, Value]) -> RunningTrial:
        """Run the objective with `params`; everything that it has to say goes into `folder`."""
        ...
