"""SIGTERM as a request that training answers between two steps: save, then end with the code that says so.

A training run alone in its process that cannot answer, since code of the user's does not return, ends some seconds
later all the same.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from trainwright_components.training.recovery.countdown import Countdown
from trainwright_components.user_module.traceback import running_user_code

TERMINATED_EXIT_CODE = 143


@dataclass(kw_only=True)
class Interruption:
    """Whether this process was asked to end.

    Args:
        countdown: What ends it when it does not answer; None where somebody else does.
    """

    is_requested: bool = False
    countdown: Countdown | None = None

    def note_call(self, seconds: float) -> None:
        """The last call took so long: the next one may too, and is no reason to end without saving."""
        if self.countdown is not None:
            self.countdown.allow(2 * seconds)

    def answer(self) -> None:
        """Training is between two steps, and begins to save."""
        if self.countdown is not None:
            self.countdown.stop_counting()


@contextmanager
def catch_sigterm(user_code: Path | None = None) -> Iterator[Interruption]:
    """Note SIGTERM instead of dying of it. Enter after the strategy is built: TensorFlow 2.21 takes it there.

    With the file or folder of the `user_code` that runs, the process ends `GRACE_S` after the signal, or somewhat more
    where steps are slow, unless the request was answered.
    """
    interruption = Interruption()

    def note(_number: int, _frame: FrameType | None) -> None:
        interruption.is_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        if user_code is not None:
            interruption.countdown = Countdown(lambda: running_user_code(user_code))
        yield interruption
    finally:
        if interruption.countdown is not None:
            interruption.countdown.close()
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
