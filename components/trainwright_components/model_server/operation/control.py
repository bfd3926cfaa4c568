"""Start, stop, describe and fill the server of this machine; what the command line and `deploy_serving` call."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_components.model_server.operation.client import is_answering, version_states
from trainwright_components.model_server.operation.process import server_environment
from trainwright_components.model_server.operation.programs import OURS, program_command
from trainwright_components.model_server.operation.serving_home import ModelEntry, ServerInfo, ServingHome, check_model
from trainwright_components.processes.locks import LockTaken, locked
from trainwright_components.processes.own_python import product_python
from trainwright_components.processes.ports import is_port_free

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 40.0
_POLL_S = 0.1
_LOG_TAIL_LINES = 15


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """One model of the server.

    Args:
        url: Where it is asked over REST.
        versions: State by version number ("AVAILABLE", "LOADING", "END", ...); empty while the server does not answer.
    """

    name: str
    base_path: str
    url: str
    versions: dict[int, str]

    @property
    def live_version(self) -> int | None:
        """The version that answers by default."""
        return max((version for version, state in self.versions.items() if state == "AVAILABLE"), default=None)


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """The server of one home as it is now.

    Args:
        info: What its supervisor last wrote down.
        is_running: Its supervisor lives.
        is_answering: The REST port answers.
        message: What is wrong, in words; empty when it runs and answers, or was stopped.
    """

    info: ServerInfo
    is_running: bool
    is_answering: bool
    models: tuple[ModelStatus, ...]
    log_file: Path
    message: str


def start_server(
    home: Path, *, rest_port: int = 0, grpc_port: int = 0, program: str = "", timeout_s: float = START_TIMEOUT_S
) -> ServerInfo:
    """Make sure that the server of `home` runs, and return when it answers.

    Args:
        home: The folder that TRAINWRIGHT_HOME names.
        rest_port: REST port; 0 = the one of last time, else 8501, else a free one.
        grpc_port: gRPC port; 0 = the one of last time, else 8500, else a free one.
        program: "trainwright" or "tensorflow_model_server"; empty = the one of last time, else trainwright.
        timeout_s: Seconds until it must answer.

    Raises:
        InvalidSetting: It already runs as another program or on other ports than asked for, the port asked for is
            taken, the program is not installed, or the record of its models cannot be read.
        ServingUnavailable: It cannot be started; the message ends with its log.
    """
    serving = ServingHome(home)
    _make_folder(serving.folder)
    with locked(serving.start_lock):
        if serving.is_supervised:
            _check_running(serving.read_info(), rest_port, grpc_port, program)
        else:
            serving.models()  # one that cannot be read is refused here, not in the log of a process that ends
            program = program or serving_program(home)
            program_command(program)
            for port in (rest_port, grpc_port):
                if port and not is_port_free(port):
                    raise InvalidSetting(f"port {port} is in use: choose another, or 0 for a free one")
            _spawn_supervisor(home, serving, rest_port, grpc_port, program)
    return _wait_until_running(serving, timeout_s)


def serving_program(home: Path) -> str:
    """The program that serves in `home`, or did last."""
    info = ServingHome(home).read_info()
    return info.program if info else OURS


def stop_server(home: Path, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop the server after the requests under way; returns False when none ran.

    Raises:
        ServingUnavailable: It did not end in time.
    """
    serving = ServingHome(home)
    if not serving.folder.is_dir():
        return False
    with locked(serving.start_lock):
        info = serving.read_info()
        if info is None or not serving.is_supervised:
            return False
        os.kill(info.supervisor_pid, signal.SIGTERM)
        try:
            with locked(serving.supervisor_lock, timeout_s=timeout_s):
                return True
        except LockTaken as error:
            raise ServingUnavailable(
                f"the server (supervisor {info.supervisor_pid}) did not end within {timeout_s:.0f} s"
            ) from error


def server_status(home: Path) -> ServerStatus | None:
    """The server of `home` as it is now; None if none was ever started there."""
    serving = ServingHome(home)
    info = serving.read_info()
    if info is None:
        return None
    is_running = serving.is_supervised
    answers = is_running and is_answering(info.rest_address)
    return ServerStatus(
        info=info,
        is_running=is_running,
        is_answering=answers,
        models=tuple(_model_status(info, model, answers) for model in serving.models()),
        log_file=serving.log_file,
        message=_status_message(info, is_running, answers),
    )


def add_model(home: Path, name: str, base_path: Path) -> None:
    """Serve the versions under `base_path` as `name`, now and after each start; a running server follows by itself.

    Raises:
        InvalidSetting: Another folder is already served under that name.
    """
    check_model(home, name, base_path)
    serving = ServingHome(home)
    _make_folder(serving.folder)
    serving.put_model(ModelEntry(name=name, base_path=str(base_path.absolute())))


def remove_model(home: Path, name: str) -> None:
    """Serve `name` no more; its versions stay on disk."""
    ServingHome(home).drop_model(name)


def log_tail(log: Path, lines: int = _LOG_TAIL_LINES) -> str:
    """The last lines of a server's log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSetting(
            f"cannot make {folder}: {error.strerror}; set TRAINWRIGHT_HOME to a folder of yours"
        ) from error


def _check_running(info: ServerInfo | None, rest_port: int, grpc_port: int, program: str) -> None:
    if info is None:
        return
    if program not in ("", info.program):
        raise InvalidSetting(f"{info.program} already serves, not {program}: stop it first")
    for kind, wanted, port in (("REST", rest_port, info.rest_port), ("gRPC", grpc_port, info.grpc_port)):
        if wanted not in (0, port):
            raise InvalidSetting(f"the server already runs with {kind} port {port}, not {wanted}: stop it first")


def _spawn_supervisor(home: Path, serving: ServingHome, rest_port: int, grpc_port: int, program: str) -> None:
    command = [product_python(), "-m", "trainwright_components.model_server.operation.supervisor"]
    command += [str(home.absolute()), str(rest_port), str(grpc_port), program]
    with serving.log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=serving.folder,
            env=server_environment(),
        )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    process.wait()
    if line != b"ready\n":
        raise ServingUnavailable(f"the server's supervisor did not start:\n{log_tail(serving.log_file)}")


def _wait_until_running(serving: ServingHome, timeout_s: float) -> ServerInfo:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        info = serving.read_info()
        if info is not None and info.state == "running" and is_answering(info.rest_address):
            return info
        if not serving.is_supervised:
            message = info.message if info else ""
            raise ServingUnavailable(
                f"the server did not start: {message or 'its supervisor ended'}\n{log_tail(serving.log_file)}"
            )
        time.sleep(_POLL_S)
    raise ServingUnavailable(f"the server did not answer within {timeout_s:.0f} s:\n{log_tail(serving.log_file)}")


def _model_status(info: ServerInfo, model: ModelEntry, answers: bool) -> ModelStatus:
    try:
        states = version_states(info.rest_address, model.name) if answers else None
    except ServingUnavailable:  # it has ended since it was asked whether it answers
        states = None
    return ModelStatus(
        name=model.name,
        base_path=model.base_path,
        url=info.model_url(model.name),
        versions={version: state for version, (state, _) in (states or {}).items()},
    )


def _status_message(info: ServerInfo, is_running: bool, answers: bool) -> str:
    if is_running:
        return "" if answers else info.message or "the server does not answer yet"
    if info.state in {"stopped", "failed"}:
        return info.message
    return f"the supervisor (process {info.supervisor_pid}) is gone without having stopped the server"
