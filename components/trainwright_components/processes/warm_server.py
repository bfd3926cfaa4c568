"""The warm process itself: one thread with a selector, which forks on request and reports how each child ended."""

import argparse
import contextlib
import gc
import importlib
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.forked import ASKED_TO_END, Forked, run_child
from trainwright_components.processes.messages import CHUNK_BYTES, encode_message

_FULL_S = 1.0


@dataclass(kw_only=True)
class _Client:
    """A connection, and the child that it asked for."""

    connection: socket.socket
    received: bytes = b""
    pid: int | None = None
    pipe: int | None = None  # this end of the child's die-with-parent pipe


@dataclass(kw_only=True)
class _Server:
    """The loop of the warm process."""

    listener: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: dict[socket.socket, _Client] = field(default_factory=dict)
    wake: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    is_stopping: bool = False
    spare: int | None = None
    """A file descriptor to let go of where there are no more, so that whoever asks for a child can be told."""
    is_full: bool = False
    forked: Forked | None = None
    """Set in a child, which leaves the loop."""

    def serve(self) -> Forked | None:
        """Fork on request. Comes back in a child, with what it is to do, and in the parent once that is stopped."""
        woken, waker = self.wake
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
        self._keep_spare()
        while not self.is_stopping:
            events = self.selector.select(_FULL_S if self.is_full else None)
            if not events:
                self._keep_spare()
            for key, _ in events:
                handler = handlers.get(key.fileobj)
                if handler is not None:
                    handler()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.clients:
                    self._read(self.clients[key.fileobj])
                if self.forked is not None:
                    return self.forked
        for client in list(self.clients.values()):
            self._drop(client)
        return None

    def _stop(self) -> None:
        self.is_stopping = True

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        except OSError:  # too many open files: the children that run already are not to end for it
            if self.spare is not None:
                os.close(self.spare)
                self.spare = None
            else:  # whoever asks waits until there is room
                self.is_full = True
                self.selector.unregister(self.listener)
            return
        connection.setblocking(False)
        self.clients[connection] = _Client(connection=connection)
        self.selector.register(connection, selectors.EVENT_READ)

    def _keep_spare(self) -> None:
        if self.spare is None:
            with contextlib.suppress(OSError):
                self.spare = os.open(os.devnull, os.O_RDONLY)
        if self.is_full:
            self.is_full = False
            self.selector.register(self.listener, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop(client)
            return
        client.received += chunk
        while b"\n" in client.received and self.forked is None:
            line, _, client.received = client.received.partition(b"\n")
            message = json.loads(line)
            if client.pid is None:
                self._fork(client, message)
            elif "signal" in message:
                number = int(message["signal"])
                if number == signal.SIGKILL:
                    _kill_tree(client.pid)
                else:
                    _signal_group(client.pid, number)

    def _fork(self, client: _Client, request: dict[str, Any]) -> None:
        parent = os.getpid()
        # What came before the child let go of the handlers above would be taken for the parent's, and lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_END)
        try:
            child_end, parent_end = os.pipe()
            try:
                pid = os.fork()
            except OSError:
                os.close(child_end)
                os.close(parent_end)
                raise
        except OSError as error:  # the children that run already are not to end for want of another
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
            self._send(client, {"not_started": error.strerror})
            return
        if pid == 0:
            os.close(parent_end)
            self._forget()
            self.forked = Forked(request=request, parent=parent, pipe=child_end)
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
        os.close(child_end)
        client.pid, client.pipe = pid, parent_end
        self._send(client, {"pid": pid})

    def _send(self, client: _Client, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            client.connection.sendall(encode_message(message))

    def _reap(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while woken.recv(CHUNK_BYTES):
                pass
        for client in list(self.clients.values()):
            if client.pid is None:
                continue
            pid, status, used = os.wait4(client.pid, os.WNOHANG)
            if pid:
                _signal_group(pid, signal.SIGKILL)  # what the child left behind in its group, as when a container ends
                client.pid = None
                peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                told = {"peak_memory_bytes": peak_bytes, "cpu_s": used.ru_utime + used.ru_stime}
                self._send(client, {"exit_code": os.waitstatus_to_exitcode(status), **told})
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self.clients[client.connection]
        self.selector.unregister(client.connection)
        client.connection.close()
        if client.pid is not None:
            _kill_tree(client.pid)
            os.waitpid(client.pid, 0)
        if client.pipe is not None:
            os.close(client.pipe)
        self._keep_spare()

    def _forget(self) -> None:
        """Close everything of the parent's in a child, or connections and pipes of others stay open."""
        self.selector.close()
        if self.spare is not None:
            os.close(self.spare)
        for each in (self.listener, *self.wake):
            each.close()
        for client in self.clients.values():
            client.connection.close()
            if client.pipe is not None:
                os.close(client.pipe)


def _kill_tree(pid: int) -> None:
    """Kill a child, its process group, and what it started in groups or sessions of their own."""
    _signal_group(pid, signal.SIGSTOP)  # it starts nothing more while its children are found
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error, OSError):  # /proc cannot be listed where too many files are open
        below = psutil.Process(pid).children(recursive=True)
    _signal_group(pid, signal.SIGKILL)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)  # forked, but its session does not exist yet
    except PermissionError:
        logging.getLogger(__name__).warning("cannot signal process group %d", pid)


def main() -> None:
    """The warm process itself: import, then fork on request until the process that started it is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("preload", nargs="*")
    options = parser.parse_args()
    gc.disable()  # what is imported stays, and the collector would look through it again and again
    for name in options.preload:
        importlib.import_module(name)
    gc.enable()
    if threading.active_count() > 1:
        raise InvalidSetting(
            f"importing {', '.join(options.preload)} started a thread; such a process cannot be forked safely"
        )
    gc.collect()
    gc.freeze()  # the children share these pages: the collector must not touch them
    forked = _Server(listener=socket.socket(fileno=options.listener)).serve()
    if forked is None:
        shutil.rmtree(options.folder, ignore_errors=True)
    else:
        run_child(forked)


if __name__ == "__main__":
    main()
