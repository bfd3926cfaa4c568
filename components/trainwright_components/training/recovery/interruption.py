"""SIGTERM as a request that training answers between two steps: save, then end with the code that says so."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

TERMINATED_EXIT_CODE = 143


@dataclass(kw_only=True)
class Interruption:
    """Whether this process was asked to end."""

    is_requested: bool = False


@contextmanager
def catch_sigterm() -> Iterator[Interruption]:
    """Note SIGTERM instead of dying of it. Enter after the strategy is built: TensorFlow 2.21 takes it there."""
    interruption = Interruption()

    def note(_number: int, _frame: FrameType | None) -> None:
        interruption.is_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
