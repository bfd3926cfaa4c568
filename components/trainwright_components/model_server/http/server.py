"""The HTTP server: connections on one listening socket, until it is told to stop."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable

from trainwright_components.model_server.http.connection import Handler, HttpConnection
from trainwright_components.model_server.http.connections import ConnectionGuard, ConnectionLimits
from trainwright_components.model_server.http.handshake import Handshake

_BACKLOG = 1024


async def serve_http(
    listening: socket.socket,
    handler: Handler,
    *,
    until: Awaitable[object],
    limits: ConnectionLimits,
    drain_s: float,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Respond until `until` is over; then finish the requests that have begun.

    Args:
        listening: Bound; it is closed at the end.
        handler: Responds to the requests.
        until: What to wait for.
        limits: What a connection may take.
        drain_s: Seconds that requests under way have at the end.
        tls: Certificates, where clients shall use HTTPS.
    """
    # Connections inherit it. Without, a response may wait 40 ms for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    guard = ConnectionGuard(limits)
    loop = asyncio.get_running_loop()

    def connect() -> HttpConnection:
        return HttpConnection(handler, guard)

    def agree_first() -> Handshake:
        assert tls is not None
        return Handshake(guard, tls, connect, timeout_s=limits.head_s)

    server = await loop.create_server(connect if tls is None else agree_first, sock=listening, backlog=_BACKLOG)
    await until
    server.close()
    await guard.drain(drain_s)
