"""Folders that killed processes left behind go at the next start; all others stay."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainwright_components.processes.socket_folder import STALE_AFTER_S, make_private_folder


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, with a short path: that of a socket is limited."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def leave_behind(place: Path, name: str, *, age_s: float) -> tuple[Path, socket.socket]:
    folder = place / f"trainwright-warm-{name}"
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "socket"))
    listener.listen()
    moment = time.time() - age_s
    os.utime(folder, (moment, moment))
    return folder, listener


def test_only_old_folders_that_nobody_listens_in_are_removed(place: Path) -> None:
    stale, gone = leave_behind(place, "stale", age_s=STALE_AFTER_S + 60)
    gone.close()
    starting, not_yet = leave_behind(place, "starting", age_s=0)
    not_yet.close()
    alive, listener = leave_behind(place, "alive", age_s=STALE_AFTER_S + 60)
    without_socket = place / "trainwright-warm-killed-early"
    without_socket.mkdir()
    os.utime(without_socket, (0, 0))
    of_another = place / "another-program"
    of_another.mkdir()
    os.utime(of_another, (0, 0))
    with listener:
        made = make_private_folder()
    assert sorted(place.iterdir()) == sorted([starting, alive, of_another, made])
    assert not stale.exists()
    assert made.stat().st_mode & 0o777 == 0o700
