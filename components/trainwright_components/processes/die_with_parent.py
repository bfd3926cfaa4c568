"""Become another program that ends with the process that started it; for programs that do not care by themselves.

python -m trainwright_components.processes.die_with_parent PARENT_PID COMMAND [ARGUMENT]...
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Have the kernel send SIGTERM when the parent ends, then run the command in place of this process.

    Args:
        arguments: Process id of the parent, and the command.
    """
    parent, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("the process that wanted the server is gone")
    os.execvp(command[0], command)  # noqa: S606  # the very purpose


if __name__ == "__main__":
    main(sys.argv[1:])
