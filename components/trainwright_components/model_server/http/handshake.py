"""The beginning of an HTTPS connection, in which nothing is known of its client but that it takes up a file."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from http import HTTPStatus

from trainwright_components.model_server.http.connections import ConnectionGuard, GuardedConnection

_SHUTDOWN_S = 3600.0  # the guard ends connections sooner, by what their clients read


class Handshake(GuardedConnection):
    """Becomes a connection once client and server agree on keys; until then the guard may end it as any other.

    Args:
        guard: Ends it if the client is slow, or others need the room.
        context: The server's certificates.
        make_connection: What it becomes.
        timeout_s: How long it may take.
    """

    def __init__(
        self,
        guard: ConnectionGuard,
        context: ssl.SSLContext,
        make_connection: Callable[[], asyncio.Protocol],
        *,
        timeout_s: float,
    ) -> None:
        super().__init__(guard)
        self._context = context
        self._make_connection = make_connection
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._guard.add(self):
            self._task = asyncio.get_running_loop().create_task(self._agree())
        else:
            transport.abort()

    def close_if_unused(self) -> None:
        """See `GuardedConnection`."""
        self.transport.abort()

    def end(self, status: HTTPStatus) -> None:  # noqa: ARG002  # it cannot be said yet
        """See `GuardedConnection`."""
        self.transport.abort()

    async def _agree(self) -> None:
        early = _Early()
        encrypted = None
        with contextlib.suppress(OSError):  # the client left, took too long, or speaks no TLS
            encrypted = await asyncio.get_running_loop().start_tls(
                self.transport,
                early,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._timeout_s,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        self._guard.remove(self)
        if encrypted is None:
            self.transport.abort()
            return
        connection = self._make_connection()
        encrypted.set_protocol(connection)
        connection.connection_made(encrypted)
        if early.data:
            connection.data_received(early.data)


class _Early(asyncio.Protocol):
    """Keeps what comes with the end of the handshake, before there is a connection that could take it."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
