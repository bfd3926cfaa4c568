"""A server for one base path on ports of its own, alive as long as a block of code; for trying a version out."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import ServingUnavailable
from trainwright_components.model_server.flags import EXIT_PORT_TAKEN, LOOPBACK
from trainwright_components.model_server.operation.client import is_answering
from trainwright_components.model_server.operation.control import log_tail
from trainwright_components.model_server.operation.process import choose_port, end_process, server_environment
from trainwright_components.model_server.operation.programs import OURS, program_command

START_TIMEOUT_S = 180.0
_ATTEMPTS = 3
_POLL_S = 0.1
_STOP_S = 15


@dataclass(frozen=True, kw_only=True)
class TemporaryServer:
    """Where it answers."""

    rest_address: str
    grpc_address: str


@contextmanager
def temporary_server(
    model_name: str, base_path: Path, *, program: str = OURS, timeout_s: float = START_TIMEOUT_S
) -> Iterator[TemporaryServer]:
    """Serve the versions under `base_path` until the block ends; a version that cannot be loaded is one that ended.

    TensorFlow Serving's own server ends altogether when it can load none.

    Raises:
        ServingUnavailable: The process ended, or does not answer within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with tempfile.TemporaryDirectory(prefix="trainwright-server-") as folder:
        log = Path(folder, "server.log")
        for attempt in range(_ATTEMPTS):
            rest_port = choose_port()
            grpc_port = choose_port(taken=rest_port)
            process = _start(program, model_name, base_path, rest_port, grpc_port, log)
            try:
                server = TemporaryServer(
                    rest_address=f"http://{LOOPBACK}:{rest_port}", grpc_address=f"{LOOPBACK}:{grpc_port}"
                )
                if _is_up(process, server, log, deadline, is_last=attempt == _ATTEMPTS - 1):
                    yield server
                    return
            finally:
                end_process(process, timeout_s=_STOP_S)


def _start(
    program: str, model_name: str, base_path: Path, rest_port: int, grpc_port: int, log: Path
) -> "subprocess.Popen[bytes]":
    flags = {
        "bind_address": LOOPBACK,
        "port": grpc_port,
        "rest_api_port": rest_port,
        "model_name": model_name,
        "model_base_path": base_path,
        "max_num_load_retries": 0,
        "require_models": False,
        "exit_when_stdin_closes": True,
    }
    with log.open("ab") as stream:
        return subprocess.Popen(
            program_command(program)(flags),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=server_environment(),
        )


def _is_up(
    process: "subprocess.Popen[bytes]", server: TemporaryServer, log: Path, deadline: float, *, is_last: bool
) -> bool:
    """Wait for the server; False if another program took one of its ports, so that others should be tried."""
    while not is_answering(server.rest_address):
        if process.poll() == EXIT_PORT_TAKEN and not is_last:
            return False
        if process.poll() is not None:
            raise ServingUnavailable(f"the server ended with code {process.returncode}:\n{log_tail(log)}")
        if time.monotonic() > deadline:
            raise ServingUnavailable(f"the server did not answer in time:\n{log_tail(log)}")
        time.sleep(_POLL_S)
    return True
