"""End this process some seconds after SIGTERM, whatever its threads do: a process beside it counts them.

Python runs its handlers only between two of its own instructions, and none of its threads while other code holds its
lock. The counting process learns of the signal from Python's handler in C. When the time is up it says so to a thread
here, which ends this process with 143; where that thread does not run, it kills this process.
"""

import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import ClassVar

from trainwright_components.processes.exit_codes import TERMINATED
from trainwright_components.training.recovery import countdown_process
from trainwright_components.training.recovery.countdown_process import ANSWERED, SECONDS, TIME_IS_UP

logger = logging.getLogger(__name__)

GRACE_S = 5
_MOST_S = 25  # Kubernetes kills after 30
_LEFT_ALONE = {signal.SIGTERM, signal.SIGINT}  # which are sent to a whole process group


class Countdown:
    """Counts from SIGTERM on; for the main thread of a process that has a handler for it.

    Args:
        where: Says what does not return, for the last words of the process.
    """

    _running: ClassVar[set["Countdown"]] = set()

    def __init__(self, where: Callable[[], str]) -> None:
        self._where, self._grace_s = where, GRACE_S
        command = [sys.executable, "-I", "-S", countdown_process.__file__, str(os.getpid()), str(GRACE_S)]
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_ALONE)  # inherited
        try:
            self._process = subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            os.close(reader)
        self._told = threading.Thread(target=self._end_when_told, daemon=True, name="countdown")
        self._told.start()
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._running.add(self)

    def allow(self, seconds: float) -> None:
        """Give this process `seconds` from a signal on, at least `GRACE_S` and less than Kubernetes does."""
        grace_s = math.ceil(min(max(seconds, GRACE_S), _MOST_S))
        if grace_s != self._grace_s:
            self._grace_s = grace_s
            self._say(SECONDS + grace_s)

    def stop_counting(self) -> None:
        """The process has begun to end by itself, and may take its time."""
        self._say(ANSWERED)

    def close(self) -> None:
        """Count no longer."""
        self._running.discard(self)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writer)
        self._process.kill()
        self._process.wait()
        self._told.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _say(self, byte: int) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full of signals, or nobody counts any more
            os.write(self._writer, bytes([byte]))

    def _end_when_told(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.read(1) == TIME_IS_UP:
            logger.warning("asked to end, but %s did not return within %d s: ended without saving", *self._last_words())
            sys.stderr.flush()
            os._exit(TERMINATED)

    def _last_words(self) -> tuple[str, int]:
        return self._where() or "a call into TensorFlow", self._grace_s

    @classmethod
    def forget_in_child(cls) -> None:
        """In a process that user code forked: its signals are not this process's, and SIGTERM ends it."""
        if cls._running:
            cls._running.clear()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=Countdown.forget_in_child)
