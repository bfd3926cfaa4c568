"""Processes are told apart whatever the clock says."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.components.processes.clock import set_clock

from trainwright_components.cluster.launchers import docker_command
from trainwright_components.processes.identity import is_same_process, start_of


def test_a_process_is_the_same_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = start_of(process.pid)
        assert start == start_of(process.pid) != start_of(os.getppid())
        assert is_same_process(process.pid, start)
        assert not is_same_process(os.getpid(), start)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_same_process(process.pid, start), "a zombie"
        process.wait()
        assert not is_same_process(process.pid, start)


def test_the_ticks_are_those_that_psutil_knows() -> None:
    ticks = start_of(os.getpid()) % (1 << 35)
    since_boot_s = psutil.Process().create_time() - psutil.boot_time()
    assert ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(since_boot_s, abs=1e-3)


def test_the_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    start, owner = start_of(os.getpid()), docker_command.own_label()
    set_clock(monkeypatch, by_s=-7200.0)
    assert is_same_process(os.getpid(), start)
    assert not docker_command._is_gone(owner), "its containers would be removed while it lives"


def test_another_boot_makes_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    start = start_of(os.getpid())
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"another" if path.name == "boot_id" else read(path))
    assert not is_same_process(os.getpid(), start)


def test_what_an_older_release_recorded_is_read() -> None:
    created = psutil.Process().create_time()
    assert is_same_process(os.getpid(), created)
    assert not is_same_process(os.getpid(), created - 10.0)
