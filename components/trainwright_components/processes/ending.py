"""Ending processes: how long each gets, and asking before killing."""

import subprocess
from typing import Protocol

SAVE_S = 20.0  # between SIGTERM and SIGKILL, for members of a cluster
AFTER_KILL_S = 5.0  # what a killed process may take to go: the kernel frees its memory and closes its files first


class Endable(Protocol):
    """A process that was started or forked."""

    def terminate(self) -> None:
        """Send SIGTERM; nothing if it has ended."""

    def kill(self) -> None:
        """Send SIGKILL; nothing if it has ended."""

    def wait(self, timeout: float | None = None, /) -> int:
        """The exit code, once it has ended; TimeoutError or TimeoutExpired if it has not in time."""


def end_process(process: Endable, *, timeout_s: float) -> None:
    """Ask `process` to end, kill it after `timeout_s`, and let go of its standard input; one that has ended is fine."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except (subprocess.TimeoutExpired, TimeoutError):
        process.kill()
        process.wait()
    if isinstance(process, subprocess.Popen) and process.stdin is not None:
        process.stdin.close()
