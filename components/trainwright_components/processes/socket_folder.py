"""Where a warm process has its socket and its log, and what becomes of such folders when everything was killed."""

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from trainwright_components.processes.messages import connect

SOCKET_NAME = "socket"
STALE_AFTER_S = 600.0  # a warm process listens long before

_PREFIX = "trainwright-warm-"
_SOCKET_PATH_LIMIT = 100  # the kernel's limit is 108 bytes on Linux, 104 on macOS
_SHORT_FOLDER = Path("/tmp")  # noqa: S108  made private by mkdtemp


def make_private_folder() -> Path:
    """A new folder that only this user can enter; what earlier processes left behind is removed first."""
    remove_stale_folders()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if len(os.fsencode(folder)) <= _SOCKET_PATH_LIMIT - len(f"/{SOCKET_NAME}"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_SHORT_FOLDER))  # TMPDIR is too long for a socket


def remove_stale_folders() -> None:
    """Remove this user's folders whose warm process was killed together with the process that asked for it.

    Whether it lives, the kernel says: only a living listener lets others connect, whatever its process id.
    """
    for place in {Path(tempfile.gettempdir()), _SHORT_FOLDER}:
        for folder in place.glob(f"{_PREFIX}*"):
            if _is_old_and_ours(folder) and not is_listening(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_old_and_ours(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_old = time.time() - status.st_mtime > STALE_AFTER_S
    return is_old and stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def is_listening(folder: Path) -> bool:
    """Whether the warm process of `folder` lives."""
    try:
        connect(folder / SOCKET_NAME, blocks=False).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:  # such as a full queue
        return True
    return True
