"""A server for one base path on ports of its own, alive as long as a block of code; for trying a version out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import ServingUnavailable
from trainwright_components.model_server.operation.client import is_answering
from trainwright_components.model_server.operation.control import log_tail
from trainwright_components.model_server.operation.process import ServerProcess, fork_server, start_process
from trainwright_components.model_server.operation.programs import OURS, program_command
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.orphans import owned_folder
from trainwright_components.processes.ports import LOOPBACK, HeldPorts
from trainwright_components.processes.warm_parent import WarmParent

START_TIMEOUT_S = 180.0
_POLL_S = 0.05
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

    In a process that came from a warm one, our own server comes from it too and starts without importing TensorFlow.
    TensorFlow Serving's own server ends altogether when it can load no version.

    Raises:
        ServingUnavailable: The process ended, or does not answer within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with owned_folder("trainwright-server-") as folder, _held_ports() as ports:
        log = folder / "server.log"
        rest, grpc = ports.addresses
        process = _start(program, model_name, base_path, ports.numbers, log)
        try:
            server = TemporaryServer(rest_address=f"http://{rest}", grpc_address=grpc)
            _wait_until_up(process, server, log, deadline)
            yield server
        finally:
            end_process(process, timeout_s=_STOP_S)


@contextmanager
def _held_ports() -> Iterator[HeldPorts]:
    try:
        ports = HeldPorts.take(2)
    except OSError as error:
        raise ServingUnavailable(f"no free port on {LOOPBACK}: {error}") from error
    try:
        yield ports
    finally:
        ports.close()


def _start(program: str, model_name: str, base_path: Path, ports: list[int], log: Path) -> ServerProcess:
    rest_port, grpc_port = ports
    flags = {
        "bind_address": LOOPBACK,
        "port": grpc_port,
        "rest_api_port": rest_port,
        "model_name": model_name,
        "model_base_path": base_path,
        "max_num_load_retries": 0,
        "require_models": False,
    }
    parent = WarmParent.at_hand() if program == OURS else None
    if parent is not None:
        return fork_server(parent, flags, log)
    return start_process(program_command(program)(flags | {"exit_when_stdin_closes": True}), log)


def _wait_until_up(process: ServerProcess, server: TemporaryServer, log: Path, deadline: float) -> None:
    while not is_answering(server.rest_address):
        code = process.poll()
        if code is not None:
            raise ServingUnavailable(f"the server ended with code {code}:\n{log_tail(log)}")
        if time.monotonic() > deadline:
            raise ServingUnavailable(f"the server did not answer in time:\n{log_tail(log)}")
        time.sleep(_POLL_S)
