"""The command, environment and ports of a serving process that another process of ours starts."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from trainwright_components.errors import ServingUnavailable
from trainwright_components.model_server.flags import LOOPBACK

# What belongs to the task that asks for a server must not shape the server.
_TASK_VARIABLES = ("TF_CONFIG", "_KFP_RUNTIME", "TRAINWRIGHT_WARM_SOCKET")
_TASK_PREFIXES = ("KFP_",)


def server_command(flags: Mapping[str, object]) -> list[str]:
    """The command line that starts a server with `flags`."""
    return [sys.executable, "-m", "trainwright_components.model_server.main", *flag_arguments(flags)]


def flag_arguments(flags: Mapping[str, object]) -> list[str]:
    """`flags` as TensorFlow Serving reads them."""
    return [f"--{name}={_text(value)}" for name, value in flags.items()]


def server_environment() -> dict[str, str]:
    """The environment of this process without what belongs to a task."""
    kept = {k: v for k, v in os.environ.items() if k not in _TASK_VARIABLES and not k.startswith(_TASK_PREFIXES)}
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **kept, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def end_process(process: "subprocess.Popen[bytes]", *, timeout_s: float) -> None:
    """Ask `process` to end, kill it after `timeout_s`, and let go of its standard input; one that has ended is fine."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def choose_port(*preferred: int, host: str = LOOPBACK, taken: int = 0) -> int:
    """The first of `preferred` that is free, else any free port; never `taken`.

    Raises:
        ServingUnavailable: The machine has no free port.
    """
    for port in preferred:
        if port and port != taken and is_port_free(port, host):
            return port
    try:
        with socket.create_server((host, 0)) as listening:
            return int(listening.getsockname()[1])
    except OSError as error:
        raise ServingUnavailable(f"no free port on {host}: {error}") from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
