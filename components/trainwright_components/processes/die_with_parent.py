"""End with the parent process: by a pipe whose other end it holds, or by a signal that the kernel sends.

A program that does neither by itself is started through this module:
python -m trainwright_components.processes.die_with_parent PARENT_PID COMMAND [ARGUMENT]...
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

STDIN = 0

_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)  # made once, before a fork: such an object keeps itself alive


def watch_pipe(descriptor: int, action: Callable[[], object]) -> None:
    """Call `action` in a thread once the other end of the pipe is closed: the parent has ended, even by SIGKILL."""

    def wait() -> None:
        while os.read(descriptor, _CHUNK_BYTES):
            pass
        action()

    threading.Thread(target=wait, daemon=True, name="die-with-parent").start()


def ask_kernel(number: int) -> None:
    """Have Linux send this process a signal when the thread that forked it ends; elsewhere nothing happens.

    prctl(2) counts the thread as the parent, and forgets the wish in children.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def command_with_parent(command: list[str]) -> list[str]:
    """The command line that runs `command` and ends it with this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Have the kernel send SIGTERM when the parent ends, then run the command in place of this process.

    Args:
        arguments: Process id of the parent, and the command.
    """
    parent, *command = arguments
    ask_kernel(signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        sys.exit("the process that wanted the server is gone")
    os.execvp(command[0], command)  # noqa: S606  # the very purpose


if __name__ == "__main__":
    main(sys.argv[1:])
