"""Locks between processes: advisory locks on files.

The kernel gives a lock back when its holder ends, even by SIGKILL, so that no stale one is left. The first process has
it; a second one waits, without an order among those who wait, or gives up after `timeout_s`. On NFS Linux turns such
a lock into one of the whole file's bytes on the server (flock(2)), so that other machines heed it too, unless the mount
says `nolock` or `local_lock=flock`.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright_components.errors import InvalidSetting

_RETRY_S = 0.05
_HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


class LockTaken(Exception):
    """Another process holds the lock and did not give it back in time."""


@contextmanager
def locked(path: Path, *, timeout_s: float | None = None, check: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock on `path`, which is made if missing and never removed.

    `check` is called again and again while another process holds it, and may raise what ends the waiting.

    Raises:
        LockTaken: It could not be had within `timeout_s` seconds; without a limit the call waits.
        InvalidSetting: The file system has no locks.
    """
    handle = acquire(path, timeout_s=timeout_s, check=check)
    try:
        yield
    finally:
        os.close(handle)


def acquire(path: Path, *, timeout_s: float | None = None, check: Callable[[], object] | None = None) -> int:
    """Take the lock on `path` as `locked` does; it is held until the descriptor returned is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    operation = fcntl.LOCK_EX if deadline is None and check is None else fcntl.LOCK_EX | fcntl.LOCK_NB
    try:
        while True:
            try:
                fcntl.flock(handle, operation)
            except BlockingIOError:
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTaken(str(path)) from None
                if check is not None:
                    check()
                time.sleep(_RETRY_S)
            except OSError as error:
                if error.errno not in _HAS_NO_LOCKS:
                    raise
                raise InvalidSetting(
                    f"{path} cannot be locked ({error.strerror}): use a folder on a file system with file locks"
                ) from error
            else:
                return handle
    except BaseException:
        os.close(handle)
        raise


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on `path`."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
