"""Who is second waits or is told; who is killed leaves no lock behind."""

import errno
import fcntl
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.locks import LockTaken, is_locked, locked

HOLDER = """
import sys
from pathlib import Path
from trainwright_components.processes.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_who_is_second_is_told_in_time(tmp_path: Path) -> None:
    path = tmp_path / "below" / "lock"
    assert not is_locked(path)
    with held_by_another_process(path):
        assert is_locked(path)
        with pytest.raises(LockTaken, match="lock"), locked(path, timeout_s=0.1):
            pytest.fail("two processes hold one lock")


def test_who_waits_gets_it_when_the_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_by_another_process(path) as holder:
        killer = threading.Timer(0.2, holder.kill)
        killer.start()
        with locked(path):
            assert holder.wait(30) != 0
        killer.join()
    assert not is_locked(path)


def test_who_waits_may_give_up_meanwhile(tmp_path: Path) -> None:
    path, looks = tmp_path / "lock", itertools.count(1)

    def check() -> None:
        if next(looks) == 2:
            raise KeyboardInterrupt

    with held_by_another_process(path), pytest.raises(KeyboardInterrupt), locked(path, check=check):
        pytest.fail("two processes hold one lock")
    with locked(path, check=check):
        assert next(looks) == 3


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(InvalidSetting, match=r"lock cannot be locked \(No locks available\)"),
        locked(tmp_path / "lock"),
    ):
        pytest.fail("there is no lock to hold")
