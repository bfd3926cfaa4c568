"""A process ends when the one that started it does, however that one ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

WATCHER = """
import os, time
from trainwright_components.processes.die_with_parent import STDIN, watch_pipe
watch_pipe(STDIN, lambda: os._exit(7))
print("watching", flush=True)
time.sleep(600)
"""
STARTER = """
import subprocess, sys
from trainwright_components.processes.die_with_parent import command_with_parent
child = subprocess.Popen(command_with_parent(["sleep", "600"]))
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def watcher() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        yield process
        process.kill()


def test_it_acts_when_the_pipe_is_closed_and_not_when_something_is_written(watcher: "subprocess.Popen[str]") -> None:
    assert watcher.stdin is not None
    watcher.stdin.write("x" * 10_000)
    watcher.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        watcher.wait(0.2)
    watcher.stdin.close()
    assert watcher.wait(30) == 7


def test_another_program_is_ended_by_the_kernel() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        program = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([program], timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
