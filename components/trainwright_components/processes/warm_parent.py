"""A process that has imported TensorFlow and runs no op: its forks start at once and share its memory.

The warm parent is one thread with a selector. One connection on its Unix socket asks for one child, which lives in a
session of its own and is killed, group and all, when that connection closes, so nothing outlives whoever asked for it.
Never run a TensorFlow op in the parent: a fork afterwards hangs.
"""

import contextlib
import errno
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from trainwright_components.errors import TrainwrightError
from trainwright_components.processes.child import WarmChild
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.messages import connect, encode_message, read_message
from trainwright_components.processes.socket_folder import SOCKET_NAME, make_private_folder
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS

FROZEN_S = 5.0
SOCKET_VARIABLE = "TRAINWRIGHT_WARM_SOCKET"
DEFAULT_PRELOAD = ("tensorflow", "keras", "kfp.dsl.executor_main")

_SERVER_MODULE = "trainwright_components.processes.warm_server"
_BACKLOG = 128
_LOG = logging.getLogger(__name__)
_STOP_GRACE_S = 5.0
_NO_ROOM = (
    "no process could be started: {}. Run less at once, or raise the limit of processes and open files (ulimit -u, "
    "ulimit -n, or that of the container that this runs in)"
)


class WarmParentLost(TrainwrightError):
    """The warm process is gone, or never came up."""


class NoMoreProcesses(TrainwrightError):
    """The machine, or a limit, has no room for another process."""


class WarmParent:
    """Start children from a process that has its imports done.

    `start()` returns at once; the first `spawn()` waits for the imports.
    """

    def __init__(self, address: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.address = address
        self._process = process
        self._stopped_since: float | None = None

    @classmethod
    def start(cls, preload: Sequence[str] = DEFAULT_PRELOAD) -> Self:
        """Start a warm process that imports the modules named in `preload`; it ends with this process."""
        folder = make_private_folder()
        address = folder / SOCKET_NAME
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, (folder / "log").open("wb") as log:
            listener.bind(str(address))
            listener.listen(_BACKLOG)
            command = [
                sys.executable,
                "-P",
                "-m",
                _SERVER_MODULE,
                "--listener",
                str(listener.fileno()),
                "--folder",
                str(folder),
            ]
            process = subprocess.Popen(
                [*command, *preload],
                stdin=subprocess.PIPE,  # its end of file tells the warm process that this one is gone, however it went
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is for the process that asked
                env={
                    LEVEL_VARIABLE: WARNINGS_AND_LESS,
                    **os.environ,
                    "_KFP_RUNTIME": "true",  # kfp's task side imports in 0.1 s, all of kfp in 5 s
                    "PYTHONUNBUFFERED": "1",  # what a child says is in its log even if it is killed
                },
            )
        return cls(address, process)

    @classmethod
    def connect_or_start(cls, preload: Sequence[str] = DEFAULT_PRELOAD) -> Self:
        """The warm process that this process itself came from if it lives, else a new one."""
        return cls.at_hand() or cls.start(preload)

    @classmethod
    def at_hand(cls) -> Self | None:
        """The warm process that this process itself came from; None if it came from none, or that one is gone."""
        address = os.environ.get(SOCKET_VARIABLE)
        if address:
            with contextlib.suppress(OSError), connect(Path(address)):
                return cls(Path(address))
        return None

    def spawn(
        self,
        target: str,
        arguments: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        inherits_env: bool = True,
        cwd: Path | None = None,
    ) -> WarmChild:
        """Fork a child that calls `package.module:function`, or that becomes the program `package.module`.

        Args:
            target: What to call: the integer result of a function, or the code of its SystemExit, is the exit code; a
                module runs as with `python -P -m`, from its first line to the end of the interpreter.
            arguments: Keyword arguments of a function, as JSON; words for a program.
            log: File that the child's output is appended to.
            env: Added to this process's environment to make the child's. Too late for what libraries read on import.
            inherits_env: False if `env` is all of the child's environment.
            cwd: The child's working folder; by default this process's.

        Raises:
            WarmParentLost: The warm process is gone, or never came up.
            NoMoreProcesses: It lives, and could not fork.
        """
        inherited = {**os.environ, SOCKET_VARIABLE: str(self.address)} if inherits_env else {}
        request = {
            "target": target,
            "arguments": dict(arguments) if isinstance(arguments, Mapping) else [*(arguments or ())],
            "env": {**inherited, **(env or {})},
            "cwd": str(cwd or Path.cwd()),
            "log": str(log.absolute()),
        }
        try:
            connection = connect(self.address)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:  # of this process, while the warm one may live
                raise NoMoreProcesses(_NO_ROOM.format(error.strerror)) from error
            raise self._lost() from error
        received = bytearray()
        try:
            connection.sendall(encode_message(request))
            reply = read_message(connection, received, None)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise self._lost() from error
            raise
        if reply is None:
            connection.close()
            raise self._lost()
        if "pid" not in reply:
            connection.close()
            raise NoMoreProcesses(_NO_ROOM.format(reply["not_started"]))
        return WarmChild(connection, int(reply["pid"]), received)

    def end_if_frozen(self) -> None:
        """Kill the warm process, if this object started it, once it was stopped by a signal for `FROZEN_S` seconds.

        It would answer nobody, nor tell how a child ended. What waits for it finds it lost then.
        """
        process = self._process
        if process is None or not _is_stopped(process.pid):
            self._stopped_since = None
            return
        self._stopped_since = self._stopped_since or time.monotonic()
        if time.monotonic() - self._stopped_since >= FROZEN_S:
            _LOG.warning("process %d, which starts steps, was stopped by a signal and is killed", process.pid)
            process.kill()

    def close(self) -> None:
        """End the warm process and all its children, if this object started it."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        end_process(process, timeout_s=_STOP_GRACE_S)  # SIGTERM ends at once what is still importing
        shutil.rmtree(self.address.parent, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lost(self) -> WarmParentLost:
        log = self.address.parent / "log"
        end = log.read_text(errors="replace")[-2000:].strip() if log.is_file() else ""
        return WarmParentLost("the warm process ended before it started the child" + (f":\n{end}" if end else ""))


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
