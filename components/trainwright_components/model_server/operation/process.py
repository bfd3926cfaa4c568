"""The command and environment of a serving process that another process of ours starts, and its start and end."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trainwright_components.processes.own_python import PREFIX_VARIABLE, PRODUCT_VARIABLE
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE, WarmParent

_MODULE = "trainwright_components.model_server.main"
# What belongs to the task that asks for a server must not shape the server.
_TASK_VARIABLES = ("TF_CONFIG", "_KFP_RUNTIME", SOCKET_VARIABLE, PREFIX_VARIABLE, PRODUCT_VARIABLE, "VIRTUAL_ENV")
_TASK_PREFIXES = ("KFP_",)


class ServerProcess(Protocol):
    """A serving process that ends with the one that started it: a program of its own, or a fork of a warm process."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def wait(self, timeout_s: float | None = ..., /) -> int:
        """Wait for its end; a `TimeoutError` or `subprocess.TimeoutExpired` after `timeout_s` seconds."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def server_command(flags: Mapping[str, object]) -> list[str]:
    """The command line that starts a server with `flags`."""
    return [sys.executable, "-m", _MODULE, *flag_arguments(flags)]


def flag_arguments(flags: Mapping[str, object]) -> list[str]:
    """`flags` as TensorFlow Serving reads them."""
    return [f"--{name}={_text(value)}" for name, value in flags.items()]


def server_environment() -> dict[str, str]:
    """The environment of this process without what belongs to a task."""
    kept = {k: v for k, v in os.environ.items() if k not in _TASK_VARIABLES and not k.startswith(_TASK_PREFIXES)}
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **kept, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def start_process(
    command: list[str], log: Path, *, cwd: Path | None = None, new_session: bool = False
) -> "subprocess.Popen[bytes]":
    """Start a server's command line, with a pipe of this process as its standard input and `log` for its output."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            cwd=cwd,
            env=server_environment(),
            start_new_session=new_session,
        )


def fork_server(parent: WarmParent, flags: Mapping[str, object], log: Path) -> ServerProcess:
    """Start our server as a child of a warm process, which spares it the seconds that importing TensorFlow takes.

    It ends with this process, and with the warm one: nothing for a server that has to outlive them.
    """
    arguments = {"arguments": flag_arguments(flags)}
    return parent.spawn(f"{_MODULE}:main", arguments, env=server_environment(), inherits_env=False, log=log)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
