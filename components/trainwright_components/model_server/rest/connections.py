"""Connections that cost too much: endless heads, bodies that trickle, answers that nobody reads, too many of them.

A subclass of uvicorn's protocol notes how far each connection is; a guard that all connections share ends those that
hold the server up. A request that is being computed is never ended.
"""

import asyncio
import enum
import resource
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_SWEEP_S = 1.0
_RESERVED_FILES = 256  # of models, logs and gRPC
_MOST_CONNECTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What a connection may take.

    Args:
        head_bytes: Request line and headers.
        head_s: Seconds from the first byte, or from connecting, to the end of the headers.
        body_s: Seconds that any body may take to come.
        body_bytes_per_s: Each so many bytes give a body another second.
        sent_bytes: Bytes of a request as sent, chunk headers and trailers included.
        unread_s: Seconds in which a client must take some of its answer.
        connections: Connections at once; the one that has been waiting longest makes room for a new one.
    """

    head_bytes: int = 64 << 10
    head_s: float = 20.0
    body_s: float = 30.0
    body_bytes_per_s: int = 4 << 10
    sent_bytes: int = 256 << 20
    unread_s: float = 30.0
    connections: int = _MOST_CONNECTIONS


def connections_that_files_allow() -> int:
    """Raise the number of files that this process may open, and say how many of them can be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        wanted = min(hard, _MOST_CONNECTIONS + _RESERVED_FILES)
        if wanted > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(64, min(_MOST_CONNECTIONS, soft - _RESERVED_FILES))


class _Phase(enum.Enum):
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"


class ConnectionGuard:
    """Looks at all connections once a second, and makes room for new ones."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._connections: OrderedDict[GuardedProtocol, None] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None

    def add(self, connection: "GuardedProtocol") -> bool:
        """Take a connection in; False if there is no room for it."""
        if len(self._connections) >= self.limits.connections and not self._make_room():
            return False
        self._connections[connection] = None
        if self._sweep is None:
            self._sweep = connection.loop.call_later(_SWEEP_S, self._look_at_all, connection.loop)
        return True

    def remove(self, connection: "GuardedProtocol") -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)

    def moved_on(self, connection: "GuardedProtocol") -> None:
        """Note that a connection did something; the longest without anything come first."""
        if connection in self._connections:
            self._connections.move_to_end(connection)

    def _make_room(self) -> bool:
        for connection in self._connections:
            if connection.may_be_ended:
                self.remove(connection)
                connection.transport.abort()
                return True
        return False

    def _look_at_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.end_if_overdue(now)
        self._sweep = loop.call_later(_SWEEP_S, self._look_at_all, loop) if self._connections else None


class GuardedProtocol(HttpToolsProtocol):
    """One HTTP connection under a guard."""

    def __init__(self, guard: ConnectionGuard, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._guard = guard
        self._phase = _Phase.HEAD
        self._since = time.monotonic()
        self._received = 0
        self._unread: tuple[int, float] | None = None

    @property
    def may_be_ended(self) -> bool:
        """No request of it is being computed."""
        return self._phase is not _Phase.ANSWER

    def end_if_overdue(self, now: float) -> None:
        """End the connection if it takes longer than it may."""
        limits, waited = self._guard.limits, now - self._since
        if self._phase is _Phase.HEAD:
            is_overdue = waited > limits.head_s
        else:
            body_s = limits.body_s + self._received / limits.body_bytes_per_s
            is_overdue = self._phase is _Phase.BODY and waited > body_s
        if is_overdue:
            self._end(408, b"Request Timeout")
        else:
            self._end_if_unread(now)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if not self._guard.add(self):
            self._end(503, b"Service Unavailable")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._guard.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += len(data)
        super().data_received(data)
        limits = self._guard.limits
        if self._phase is _Phase.HEAD and self._received > limits.head_bytes:
            self._end(431, b"Request Header Fields Too Large")
        elif self._phase is _Phase.BODY and self._received > limits.sent_bytes:
            self._end(413, b"Content Too Large")

    def on_message_begin(self) -> None:
        """See httptools."""
        self._enter(_Phase.HEAD)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._enter(_Phase.BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._enter(_Phase.ANSWER)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer was handed to the transport; see uvicorn."""
        if self._phase is _Phase.ANSWER and not self.pipeline:
            self._enter(_Phase.IDLE)
        super().on_response_complete()

    def _enter(self, phase: _Phase) -> None:
        if phase is _Phase.HEAD:
            self._received = 0
        self._since = time.monotonic()
        self._phase = phase
        self._guard.moved_on(self)

    def _end_if_unread(self, now: float) -> None:
        left = self.transport.get_write_buffer_size()
        if not left:
            self._unread = None
        elif self._unread is None or left < self._unread[0]:
            self._unread = (left, now)
        elif now - self._unread[1] > self._guard.limits.unread_s:
            self.transport.abort()

    def _end(self, status: int, reason: bytes) -> None:
        if self.transport.is_closing():
            self.transport.abort()
            return
        head = b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(head % (status, reason))
        self.transport.close()
