"""A process that has imported TensorFlow and runs no op: its forks start at once and share its memory.

The warm parent is one thread with a selector. One connection on its Unix socket asks for one child, which lives in a
session of its own and is killed, group and all, when that connection closes, so nothing outlives whoever asked for it.
Never run a TensorFlow op in the parent: a fork afterwards hangs.
"""

import argparse
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from trainwright_components.errors import InvalidSetting, TrainwrightError

SOCKET_VARIABLE = "TRAINWRIGHT_WARM_SOCKET"
DEFAULT_PRELOAD = ("tensorflow", "keras", "kfp.dsl.executor_main")

_CHUNK_BYTES = 1 << 16
_BACKLOG = 128
_SOCKET_PATH_LIMIT = 100  # the kernel's limit is 108 bytes on Linux, 104 on macOS
_PR_SET_PDEATHSIG = 1
_STOP_GRACE_S = 5.0


class WarmParentLost(TrainwrightError):
    """The warm process is gone, or never came up."""


class WarmChild:
    """A forked child, as seen by the process that asked for it. It dies when this object is closed."""

    def __init__(self, connection: socket.socket, pid: int, received: bytearray) -> None:
        self.pid = pid
        self._connection = connection
        self._received = received
        self._exit_code: int | None = None

    def fileno(self) -> int:
        """Readable when the child has ended; for selectors."""
        return self._connection.fileno()

    def poll(self) -> int | None:
        """The exit code, or None while the child runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end of the child.

        Returns:
            The exit code; minus the signal's number if a signal ended the child.

        Raises:
            TimeoutError: The child still runs after `timeout_s` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._exit_code is None:
            line = _read_line(self._connection, self._received, deadline)
            self._finish(-signal.SIGKILL if line is None else int(line["exit_code"]))
        return self._exit_code

    def terminate(self) -> None:
        """Send SIGTERM to the child and its process group."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child and its process group."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the child and its process group; nothing if it has ended."""
        if self._exit_code is None:
            with contextlib.suppress(OSError):
                self._connection.sendall(_line({"signal": int(number)}))

    def close(self) -> None:
        """Kill the child if it still runs."""
        self._connection.close()
        if self._exit_code is None:
            self._exit_code = -signal.SIGKILL

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _finish(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._connection.close()


class WarmParent:
    """Start children from a process that has its imports done.

    `start()` returns at once; the first `spawn()` waits for the imports.
    """

    def __init__(self, address: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.address = address
        self._process = process

    @classmethod
    def start(cls, preload: Sequence[str] = DEFAULT_PRELOAD) -> Self:
        """Start a warm process that imports the modules named in `preload`; it ends with this process."""
        folder = _private_folder()
        address = folder / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, (folder / "log").open("wb") as log:
            listener.bind(str(address))
            listener.listen(_BACKLOG)
            command = [
                sys.executable,
                "-P",
                "-m",
                __name__,
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
                env={**os.environ, "_KFP_RUNTIME": "true"},  # kfp's task side imports in 0.1 s, all of kfp in 5 s
            )
        return cls(address, process)

    @classmethod
    def connect_or_start(cls, preload: Sequence[str] = DEFAULT_PRELOAD) -> Self:
        """The warm process that this process itself came from if it lives, else a new one."""
        address = os.environ.get(SOCKET_VARIABLE)
        if address:
            with contextlib.suppress(OSError), _connect(Path(address)):
                return cls(Path(address))
        return cls.start(preload)

    def spawn(
        self,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> WarmChild:
        """Fork a child that calls `package.module:function` with keyword arguments.

        Args:
            target: What to call; its integer result, or the code of its SystemExit, is the exit code.
            arguments: Keyword arguments, as JSON.
            log: File that the child's output is appended to.
            env: Added to this process's environment to make the child's. Too late for what libraries read on import.
            cwd: The child's working folder; by default this process's.
        """
        request = {
            "target": target,
            "arguments": dict(arguments or {}),
            "env": {**os.environ, SOCKET_VARIABLE: str(self.address), **(env or {})},
            "cwd": str(cwd or Path.cwd()),
            "log": str(log.absolute()),
        }
        try:
            connection = _connect(self.address)
        except OSError as error:
            raise self._lost() from error
        received = bytearray()
        try:
            connection.sendall(_line(request))
            reply = _read_line(connection, received, None)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise self._lost() from error
            raise
        if reply is None:
            connection.close()
            raise self._lost()
        return WarmChild(connection, int(reply["pid"]), received)

    def close(self) -> None:
        """End the warm process and all its children, if this object started it."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        process.terminate()  # ends at once what is still importing
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
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


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="trainwright-warm-"))
    if len(os.fsencode(folder)) <= _SOCKET_PATH_LIMIT - len("/socket"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="trainwright-warm-", dir="/tmp"))  # TMPDIR is too long for a socket


def _connect(address: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(address))
    except BaseException:
        connection.close()
        raise
    return connection


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read_line(connection: socket.socket, received: bytearray, deadline: float | None) -> dict[str, Any] | None:
    """One message, None at the end of the stream; what came after it, or before a timeout, stays in `received`."""
    while b"\n" not in received:
        connection.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-4))
        try:
            chunk = connection.recv(_CHUNK_BYTES)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return None
        received += chunk
    line, _, rest = received.partition(b"\n")
    received[:] = rest
    message: dict[str, Any] = json.loads(line)
    return message


@dataclass(kw_only=True)
class _Client:
    """A connection, and the child that it asked for."""

    connection: socket.socket
    received: bytes = b""
    pid: int | None = None
    lifeline: int | None = None


@dataclass(kw_only=True)
class _Server:
    """The loop of the warm process."""

    listener: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: dict[socket.socket, _Client] = field(default_factory=dict)
    is_stopping: bool = False

    def serve(self) -> None:
        woken, waker = socket.socketpair()
        for end in (woken, waker, self.listener):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "is_stopping", True))
        handlers: dict[Any, Callable[[], None]] = {
            self.listener: self._accept,
            woken: lambda: self._reap(woken),
            sys.stdin.buffer: self._stop,
        }
        for source in handlers:
            self.selector.register(source, selectors.EVENT_READ)
        while not self.is_stopping:
            for key, _ in self.selector.select():
                handler = handlers.get(key.fileobj)
                if handler is not None:
                    handler()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.clients:
                    self._read(self.clients[key.fileobj])
        for client in list(self.clients.values()):
            self._drop(client)

    def _stop(self) -> None:
        self.is_stopping = True

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self.listener.accept()
            connection.setblocking(False)
            self.clients[connection] = _Client(connection=connection)
            self.selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return
        client.received += chunk
        while b"\n" in client.received:
            line, _, client.received = client.received.partition(b"\n")
            message = json.loads(line)
            if client.pid is None:
                self._fork(client, message)
            elif "signal" in message:
                _signal_group(client.pid, int(message["signal"]))

    def _fork(self, client: _Client, request: dict[str, Any]) -> None:
        child_end, parent_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_child(self, child_end, parent_end, request)
        os.close(child_end)
        client.pid, client.lifeline = pid, parent_end
        self._send(client, {"pid": pid})

    def _send(self, client: _Client, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            client.connection.sendall(_line(message))

    def _reap(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while woken.recv(_CHUNK_BYTES):
                pass
        for client in list(self.clients.values()):
            if client.pid is None:
                continue
            pid, status = os.waitpid(client.pid, os.WNOHANG)
            if pid:
                _signal_group(pid, signal.SIGKILL)  # what the child left behind in its group, as when a container ends
                client.pid = None
                self._send(client, {"exit_code": os.waitstatus_to_exitcode(status)})
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self.clients[client.connection]
        self.selector.unregister(client.connection)
        client.connection.close()
        if client.pid is not None:
            _signal_group(client.pid, signal.SIGKILL)
            os.waitpid(client.pid, 0)
        if client.lifeline is not None:
            os.close(client.lifeline)

    def forget(self) -> None:
        """Close everything of the parent's in a child, or connections and lifelines of others stay open."""
        self.selector.close()
        self.listener.close()
        for client in self.clients.values():
            client.connection.close()
            if client.lifeline is not None:
                os.close(client.lifeline)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)  # forked, but its session does not exist yet
    except PermissionError:
        logging.getLogger(__name__).warning("cannot signal process group %d", pid)


def _be_child(server: _Server, lifeline: int, parent_end: int, request: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        os.close(parent_end)
        server.forget()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _redirect(Path(request["log"]))
        _die_with_parent(lifeline)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else every child draws the same numbers
        code = _call(request["target"], request["arguments"])
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first at its end: joins threads
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        code = code or 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the interpreter's own text stream
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the same


def _die_with_parent(lifeline: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(lifeline, 1)  # ends when the parent's end of the pipe closes
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def _call(target: str, arguments: Mapping[str, Any]) -> int:
    module, _, name = target.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(**arguments)
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
            return 1
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    """The warm process itself: import, then fork on request until the process that started it is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("preload", nargs="*")
    options = parser.parse_args()
    for name in options.preload:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise InvalidSetting(
            f"importing {', '.join(options.preload)} started a thread; such a process cannot be forked safely"
        )
    gc.collect()
    gc.freeze()  # the children share these pages: the collector must not touch them
    _Server(listener=socket.socket(fileno=options.listener)).serve()
    shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
