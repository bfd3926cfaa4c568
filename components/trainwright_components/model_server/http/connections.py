"""Connections that cost too much: endless heads, bodies that trickle, responses that nobody reads, too many of them.

A guard that all connections share ends those that hold the server up. A request that is being computed is never ended.
"""

import asyncio
import contextlib
import enum
import resource
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus

_RESERVED_FILES = 256  # of models, logs and gRPC
_MOST_CONNECTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What a connection may take.

    Args:
        head_bytes: Request line and headers; also what a body may bring at a time beside content, as trailers.
        head_s: Seconds from the first byte, or from connecting, to the end of the headers.
        body_s: Seconds that any body may take to come.
        body_bytes_per_s: Each so many bytes give a body another second.
        sent_bytes: Bytes of a request as sent, chunk headers and trailers included.
        unread_s: Seconds in which a client must take some of its response.
        idle_s: Seconds that a connection is kept without a request.
        linger_s: Seconds in which a client must read its last response and stop sending.
        connections: Connections at once; the one that has been waiting longest makes room for a new one.
        sweep_s: Seconds between two looks at all connections, by which any of them may overstay.
    """

    head_bytes: int = 64 << 10
    head_s: float = 20.0
    body_s: float = 30.0
    body_bytes_per_s: int = 4 << 10
    sent_bytes: int = 256 << 20
    unread_s: float = 30.0
    idle_s: float = 75.0
    linger_s: float = 10.0
    connections: int = _MOST_CONNECTIONS
    sweep_s: float = 1.0


def connections_that_files_allow() -> int:
    """Raise the number of files that this process may open, and say how many of them can be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        wanted = min(hard, _MOST_CONNECTIONS + _RESERVED_FILES)
        if wanted > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(64, min(_MOST_CONNECTIONS, soft - _RESERVED_FILES))


class Phase(enum.Enum):
    """Where a connection stands in what its client sends."""

    HEAD = "head"
    BODY = "body"
    RESPONSE = "response"
    IDLE = "idle"
    LINGER = "linger"
    """The last response is sent, and what the client goes on sending is thrown away until it has read that."""


class GuardedConnection(asyncio.Protocol, ABC):
    """What a guard knows of a connection."""

    transport: asyncio.Transport

    def __init__(self, guard: "ConnectionGuard") -> None:
        self._guard = guard
        self.phase = Phase.HEAD
        self.since = time.monotonic()
        """When the phase began, or when the client last took some of its response if it has to do nothing else."""
        self.received = 0
        """Bytes that came since the request began."""
        self.without_content = 0
        """Bytes that came since the last of the body: chunk headers and trailers."""
        self.written = 0
        """Bytes of responses, taken by the client or not."""

    @property
    def has_request(self) -> bool:
        """Whether a request that came whole has no response yet."""
        return False

    @abstractmethod
    def close_if_unused(self) -> None:
        """Close, unless a request has begun."""

    @abstractmethod
    def end(self, status: HTTPStatus) -> None:
        """End the connection; the client may be told a status."""


class ConnectionGuard:
    """Looks at all connections again and again, and makes room for new ones."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.is_draining = False
        self._limits = limits
        self._connections: OrderedDict[GuardedConnection, None] = OrderedDict()
        self._unread: dict[GuardedConnection, tuple[int, float]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._are_gone = asyncio.Event()

    def add(self, connection: GuardedConnection) -> bool:
        """Take a connection in; False if there is no room for it."""
        if len(self._connections) >= self._limits.connections and not self._make_room():
            return False
        self._connections[connection] = None
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._limits.sweep_s, self._look_at_all)
        return True

    def remove(self, connection: GuardedConnection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        self._unread.pop(connection, None)
        if not self._connections:
            self._are_gone.set()

    def moved_on(self, connection: GuardedConnection) -> None:
        """Note that a connection did something; the longest without anything come first."""
        if connection in self._connections:
            self._connections.move_to_end(connection)

    def look_at_size(self, connection: GuardedConnection) -> None:
        """End a connection whose request is larger than any may be."""
        if connection.phase is Phase.HEAD and connection.received > self._limits.head_bytes:
            connection.end(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif connection.phase is Phase.BODY and (
            connection.received > self._limits.sent_bytes or connection.without_content > self._limits.head_bytes
        ):
            connection.end(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    async def drain(self, timeout_s: float) -> None:
        """Let requests that have begun come to their end, then end every connection."""
        self.is_draining = True
        for connection in list(self._connections):
            connection.close_if_unused()
        if self._connections:
            self._are_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._are_gone.wait(), timeout_s)
        for connection in list(self._connections):
            connection.transport.abort()
        if self._sweep is not None:
            self._sweep.cancel()

    def _make_room(self) -> bool:
        for connection in self._connections:
            if not connection.has_request:
                self.remove(connection)
                connection.transport.abort()
                return True
        return False

    def _look_at_all(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            self._look_at(connection, now)
        again = (
            asyncio.get_running_loop().call_later(self._limits.sweep_s, self._look_at_all)
            if self._connections
            else None
        )
        self._sweep = again

    def _look_at(self, connection: GuardedConnection, now: float) -> None:
        limits = self._limits
        may_take_s = {
            Phase.HEAD: limits.head_s,
            Phase.BODY: limits.body_s + connection.received / limits.body_bytes_per_s,
            Phase.IDLE: limits.idle_s,
            Phase.LINGER: limits.linger_s,
        }.get(connection.phase)
        left = connection.transport.get_write_buffer_size()
        if left and connection.phase in {Phase.IDLE, Phase.LINGER}:
            connection.since = now
        if connection.has_request or may_take_s is None or now - connection.since <= may_take_s:
            self._end_if_unread(connection, left, now)
        elif connection.phase is Phase.IDLE:
            connection.close_if_unused()
        else:
            connection.end(HTTPStatus.REQUEST_TIMEOUT)

    def _end_if_unread(self, connection: GuardedConnection, left: int, now: float) -> None:
        taken = connection.written - left
        before = self._unread.get(connection)
        if not left:
            self._unread.pop(connection, None)
        elif before is None or taken > before[0]:
            self._unread[connection] = (taken, now)
        elif now - before[1] > self._limits.unread_s:
            connection.transport.abort()
