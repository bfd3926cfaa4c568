"""Temporary folders that outlive their process where it is killed: each is locked by it, so that others can tell."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright_components.processes.locks import is_locked, locked
from trainwright_components.processes.socket_folder import SOCKET_NAME, is_listening

_LOCK = ".alive"
_BEING_MADE_S = 60.0


@contextmanager
def owned_folder(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """A temporary folder until the block ends; those with the prefix whose processes were killed are removed first."""
    place = place or Path(tempfile.gettempdir())
    for each in place.glob(f"{prefix}*"):
        if is_orphan(each):
            shutil.rmtree(each, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name, locked(Path(name, _LOCK)):
        yield Path(name)


def is_orphan(folder: Path, *, idle_s: float = float("inf")) -> bool:
    """Whether the process that made a temporary folder is gone.

    Its lock tells, or its socket; of a folder with neither, that nothing was put into it for `idle_s` seconds.
    """
    try:
        age_s = time.time() - folder.lstat().st_mtime
        if (folder / _LOCK).exists():
            return not is_locked(folder / _LOCK)
        if (folder / SOCKET_NAME).exists():
            return age_s > _BEING_MADE_S and not is_listening(folder)
    except OSError:  # it is just going, or another user's
        return False
    return age_s > max(idle_s, _BEING_MADE_S)
