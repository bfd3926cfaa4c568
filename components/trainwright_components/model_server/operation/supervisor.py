"""The supervisor: a small process outside every run that owns the serving process and starts it again when it dies.

It imports no TensorFlow. It holds `serving/supervisor.lock` all its life, so that there is one per home and anyone can
tell whether it lives. The serving process reads from a pipe of the supervisor and leaves when that closes, so that
none is left behind.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from trainwright_components.model_server.operation.client import is_answering
from trainwright_components.model_server.operation.process import ServerProcess, start_process
from trainwright_components.model_server.operation.programs import OURS, Command, program_command
from trainwright_components.model_server.operation.serving_home import ServerInfo, ServingHome
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.exit_codes import INVALID, PORT_TAKEN
from trainwright_components.processes.locks import LockTaken, acquire
from trainwright_components.processes.ports import LOOPBACK, HeldPorts
from trainwright_components.processes.restarts import FIRST_WAIT_S, Restarts

logger = logging.getLogger(__name__)

MAX_FAILURES = 5
PREFERRED_REST_PORT, PREFERRED_GRPC_PORT = 8501, 8500
_LOCK_WAIT_S = 2
_TICK_S, _STARTING_TICK_S = 0.5, 0.1
_STOP_S = 20
_MAX_LOG_BYTES = 20 << 20


@dataclass(frozen=True, kw_only=True)
class PortWish:
    """Ports asked for; 0 = the ones of last time, else the usual ones, else free ones."""

    rest: int = 0
    grpc: int = 0


class Supervisor:
    """Keeps one serving process alive until told to stop.

    Args:
        home: Where state, models and logs are.
        ports: Ports asked for by the person who starts it.
        program: What serves.
        command: Command line of the serving process with given flags; that of `program` by default.
        backoff_s: Seconds before the first restart; each further one in a row waits twice as long.
    """

    def __init__(
        self,
        home: ServingHome,
        ports: PortWish,
        *,
        program: str = OURS,
        command: Command | None = None,
        backoff_s: float = FIRST_WAIT_S,
    ) -> None:
        self._home = home
        self._wish = ports
        self._program = program
        self._command = command or program_command(program)
        self._restarts = Restarts(first_wait_s=backoff_s)
        self._stop = threading.Event()
        self._ports = HeldPorts()
        self._info = self._first_info()
        self._models_written: object = None

    def announce(self) -> None:
        """Write down that a server is starting."""
        self._write()

    def run(self) -> None:
        """Serve until told to stop, or until the process died too often in a row."""
        while not self._stop.is_set():
            started = time.monotonic()
            code = self._serve_once()
            if self._stop.is_set():
                break
            self._restarts.note_end(time.monotonic() - started)
            reason = self._reason_to_give_up(code, self._restarts.failures)
            if reason:
                self._ports.close()
                self._update(state="failed", server_pid=None, message=f"{reason}; see {self._home.log_file}")
                return
            self._prepare_restart(code)
            self._stop.wait(self._restarts.wait_s)
        self._ports.close()
        self._update(state="stopped", server_pid=None, message="")

    def stop(self) -> None:
        """Make `run` drain the server and return."""
        self._stop.set()

    def _reason_to_give_up(self, code: int, failures: int) -> str:
        if code == INVALID:
            return "the server refused its flags"
        if code == PORT_TAKEN and (self._wish.rest or self._wish.grpc):
            return _port_message(self._wish)
        if failures > MAX_FAILURES:
            return f"the server ended {failures} times in a row, last with {_code_text(code)}"
        return ""

    def _prepare_restart(self, code: int) -> None:
        message = f"the server ended with {_code_text(code)}"
        logger.warning("%s; starting it again", message)
        rest, grpc = self._hold_ports([self._info.rest_port], [self._info.grpc_port])
        self._update(
            state="restarting",
            server_pid=None,
            restarts=self._info.restarts + 1,
            message=message,
            rest_port=rest,
            grpc_port=grpc,
        )

    def _hold_ports(self, rest: Sequence[int], grpc: Sequence[int]) -> tuple[int, int]:
        """Two ports: those asked for, else the first free ones of these; nobody gets them while the server is down."""
        self._ports.close()
        self._ports = HeldPorts.take_preferred([self._wish.rest, *rest], [self._wish.grpc, *grpc])
        held_rest, held_grpc = self._ports.numbers
        return self._wish.rest or held_rest, self._wish.grpc or held_grpc

    def _serve_once(self) -> int:
        self._home.write_config()
        _rotate(self._home.log_file)
        process = start_process(
            self._command(self._flags()),
            self._home.log_file,
            cwd=self._home.folder,
            new_session=True,  # a stop from a terminal reaches the supervisor alone, which drains first
        )
        self._update(server_pid=process.pid)
        try:
            self._watch(process)
        finally:
            end_process(process, timeout_s=_STOP_S)
        return process.returncode

    def _watch(self, process: ServerProcess) -> None:
        while process.poll() is None and not self._stop.wait(self._tick_s()):
            if self._info.state != "running" and is_answering(self._info.rest_address):
                self._update(state="running", message="")
            elif self._home.models() != self._models_written:
                self._write()

    def _tick_s(self) -> float:
        return _TICK_S if self._info.state == "running" else _STARTING_TICK_S

    def _flags(self) -> dict[str, object]:
        return {
            "bind_address": self._info.host,
            "port": self._info.grpc_port,
            "rest_api_port": self._info.rest_port,
            "model_config_file": self._home.config_file,
            "model_config_file_poll_wait_seconds": 0.5,
            "file_system_poll_wait_seconds": 0.5,
            "max_num_load_retries": 0,
            "require_models": False,
            "allow_version_labels_for_unavailable_models": True,
            "exit_when_stdin_closes": True,
        }

    def _first_info(self) -> ServerInfo:
        last = self._home.read_info()
        rest, grpc = self._hold_ports(
            [last.rest_port if last else 0, PREFERRED_REST_PORT], [last.grpc_port if last else 0, PREFERRED_GRPC_PORT]
        )
        return ServerInfo(
            state="starting",
            supervisor_pid=os.getpid(),
            server_pid=None,
            host=LOOPBACK,
            rest_port=rest,
            grpc_port=grpc,
            restarts=0,
            program=self._program,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _update(self, **changes: object) -> None:
        self._info = replace(self._info, **changes)  # type: ignore[arg-type]  # fields of several types
        self._write()

    def _write(self) -> None:
        self._models_written = self._home.models()
        try:
            self._home.write_info(self._info)
        except OSError as error:  # a full disk must not end what is served
            logger.error("cannot write %s: %s", self._home.server_file, error)


def main(arguments: list[str]) -> int:
    """Leave the caller's process tree, say "ready" on standard output, and supervise.

    Args:
        arguments: Home, REST port, gRPC port, program.
    """
    home = ServingHome(Path(arguments[0]))
    wish = PortWish(rest=int(arguments[1]), grpc=int(arguments[2]))
    _leave_the_process_tree()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s supervisor: %(message)s", filename=home.log_file
    )
    try:
        acquire(home.supervisor_lock, timeout_s=_LOCK_WAIT_S)
    except LockTaken:
        return 1
    supervisor = Supervisor(home, wish, program=arguments[3])

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    supervisor.announce()
    _say_ready()
    supervisor.run()
    return 0


def _leave_the_process_tree() -> None:
    """Become a session of its own whose parent is not the caller."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _say_ready() -> None:
    os.write(1, b"ready\n")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _code_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"


def _port_message(wish: PortWish) -> str:
    ports = " or ".join(str(port) for port in (wish.rest, wish.grpc) if port)
    return f"port {ports} is in use by another program: choose another, or 0 for a free one"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
