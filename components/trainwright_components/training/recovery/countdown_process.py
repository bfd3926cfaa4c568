"""The process that counts the seconds of `countdown`; a script that needs nothing but Python itself.

It reads bytes: the number of a signal that its parent got, as Python's handler in C writes it even while the parent's
Python is stuck, or what the parent says, which lies above all signals.
"""

import os
import select
import signal
import sys
import time

TIME_IS_UP = b"!"
ANSWERED = 100  # the parent has begun to end by itself: nothing is counted any more
SECONDS = 101  # plus how many the parent gets
_LAST_S = 2.0  # for a parent that was told that the time is up
_LOOK_S = 2.0


def _count(parent: int, grace_s: int) -> None:
    until: float | None = None
    while os.getppid() == parent:
        left_s = _LOOK_S if until is None else until - time.monotonic()
        if left_s <= 0:
            _end(parent)
            return
        if not select.select([0], [], [], min(left_s, _LOOK_S))[0]:
            continue
        bytes_read = os.read(0, 64)
        if not bytes_read or ANSWERED in bytes_read:
            return
        grace_s = next((byte - SECONDS for byte in reversed(bytes_read) if byte >= SECONDS), grace_s)
        if signal.SIGTERM in bytes_read and until is None:
            until = time.monotonic() + grace_s


def _end(parent: int) -> None:
    os.write(1, TIME_IS_UP)
    until = time.monotonic() + _LAST_S
    while os.getppid() == parent:
        if time.monotonic() > until:
            print("asked to end, but Python's lock is held by other code: killed without saving", file=sys.stderr)
            os.kill(parent, signal.SIGKILL)
            return
        time.sleep(0.05)


if __name__ == "__main__":
    _count(int(sys.argv[1]), int(sys.argv[2]))
