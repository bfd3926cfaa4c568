"""A step whose log holds no value of a secret, whatever it runs in."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright_pipelines.engine.isolation.protocol import StartedStep, StepEnd
from trainwright_pipelines.engine.masking import MaskedLog


class MaskedStep:
    """Has what `make` gives write into the pipe of a log that is masked."""

    def __init__(self, make: Callable[[Path], StartedStep], log: MaskedLog) -> None:
        self._log = log
        self._inner = make(log.pipe)

    def start(self) -> int | None:
        """Start it."""
        self._log.open()
        try:
            return self._inner.start()
        except BaseException:
            self._log.close()
            raise

    def wait(self) -> StepEnd:
        """Wait for its end, and for that of its log."""
        try:
            return self._inner.wait()
        finally:
            self._log.close()

    def stop(self, *, at_once: bool) -> None:
        """Ask it to end, or kill it."""
        self._inner.stop(at_once=at_once)

    def abandon(self) -> None:
        """End what nobody waits for."""
        self._inner.abandon()
        self._log.close()


if TYPE_CHECKING:
    _: type[StartedStep] = MaskedStep
