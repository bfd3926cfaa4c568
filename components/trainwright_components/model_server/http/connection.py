"""One HTTP/1.1 connection: httptools reads the requests, a handler responds to them, one by one in their order.

A response that the handler has at once is written before the next byte is read, without a task: where responses are
cheap, a task is most of what they cost.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

import httptools

from trainwright_components.model_server.http.connections import ConnectionGuard, GuardedConnection, Phase
from trainwright_components.model_server.http.request import Request
from trainwright_components.model_server.http.response import Response

logger = logging.getLogger(__name__)

_SMALL_PIECE = 4 << 10
_WRITTEN_AT_ONCE = 256 << 10  # of more, TLS would not say how much is still to go
_AT_ONCE = 16  # responses to requests that came together, until other connections have their turn
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus} | {499: b"Client Closed Request"}
_CLOSE = b"Connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_INVALID_REQUEST = Response(
    status=400, content=b"Invalid HTTP request received.", media_type=b"text/plain", closes_connection=True
)


class Handler(Protocol):
    """What responds to requests."""

    headers: bytes
    """Lines that every response has beside its own."""

    def reject(self, request: Request) -> Response | None:
        """The response to a request whose body need not be read; called before it is."""

    def reserve(self, size: int, so_far: int) -> Response | None:
        """Make room for `size` bytes of a body, with which there are `so_far`; the response if there is none."""

    def release(self, size: int) -> None:
        """Bytes of bodies are done with."""

    def respond(self, request: Request) -> Response | Awaitable[Response]:
        """The response, at once only if it takes no time to speak of; never raises, neither now nor when awaited."""


class HttpConnection(GuardedConnection):
    """One connection.

    Args:
        handler: Responds to the requests.
        guard: Ends connections that cost too much.
    """

    def __init__(self, handler: Handler, guard: ConnectionGuard) -> None:
        super().__init__(guard)
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_responding = False
        self._has_begun = False  # its first request
        self._is_waiting_to_send = False  # the body, until it is told to
        self._may_write = True
        self._is_done = False  # with reading
        self._is_at_end = False  # of what the client sends

    @property
    def has_request(self) -> bool:
        """See `GuardedConnection`."""
        return self._is_responding or bool(self._waiting)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self._guard.add(self):
            self._is_done = True
            transport.write(_head(_empty(HTTPStatus.SERVICE_UNAVAILABLE), _CLOSE))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # of the protocol
        """See `asyncio.Protocol`."""
        self._guard.remove(self)
        self._stop_reading()
        self._drop_waiting()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; a client that sends no more may still wait for a response."""
        if not self.has_request or not self.transport.can_write_eof():
            return False
        self._is_at_end = True
        return True

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._may_write = False

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._may_write = True
        self._respond_to_waiting()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.received += len(data)
        self.without_content += len(data)
        if self._is_done:
            return
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                logger.error("a request could not be taken", exc_info=error)
            self._reject(_INVALID_REQUEST)
        if not self._is_done:
            self._guard.look_at_size(self)
        if self._waiting and not self._is_responding:
            self._respond_to_waiting()

    def _feed(self, data: bytes) -> None:
        """Have `data` read. Who asks for another protocol goes on with this one, which the parser does not expect."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self._is_done:
                    return
                head = self._head_without_upgrade()
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(head)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self._parser.get_http_version().encode()
        lines = [b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self._parser.get_method(), self._url, version, b"".join(lines))

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self.received = 0
        self._has_begun = True
        self._url, self._headers, self._request = b"", [], None
        self._enter(Phase.HEAD)

    def on_url(self, url: bytes) -> None:
        """A part of the target came."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came, or a trailer, which nothing here asks for."""
        if self.phase is not Phase.BODY:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head of a request came."""
        parser = self._parser
        method = parser.get_method()
        if self._is_done or (parser.should_upgrade() and method != b"CONNECT"):
            return  # to see it again without its wish for another protocol
        self._enter(Phase.BODY)
        self.without_content = 0
        request = Request(
            method=method.decode(),
            target=_target(self._url),
            headers=self._headers,
            closes_connection=not parser.should_keep_alive(),
            is_http_1_0=parser.get_http_version() == "1.0",
        )
        if request.is_http_1_0 and request.header(b"transfer-encoding"):
            request.closes_connection = True  # servers of that time would see another end of the body
        if method == b"CONNECT":
            self._request = request
            self._reject(_INVALID_REQUEST)
            return
        request.rejection = self._handler.reject(request)
        self._request = request
        if request.rejection is not None and request.rejection.closes_connection:
            self._reject(request.rejection)
        elif request.header(b"expect").lower() == b"100-continue":
            if request.rejection is not None:
                self._reject(request.rejection)
            elif not request.is_http_1_0:
                self._is_waiting_to_send = True
                if not self.has_request:
                    self._ask_for_body()

    def on_body(self, chunk: bytes) -> None:
        """A part of a body came."""
        self.without_content = 0
        self._is_waiting_to_send = False
        if self._is_done or self._request is None or self._request.rejection is not None:
            return
        if self._body and len(self._body[-1]) < _SMALL_PIECE:
            self._body[-1] += chunk
        else:
            self._body.append(chunk)
        self._body_size += len(chunk)
        rejection = self._handler.reserve(len(chunk), self._body_size)
        if rejection is not None:
            self._reject(rejection)

    def on_message_complete(self) -> None:
        """A request came whole."""
        if self._is_done or self._request is None:
            return
        self._enter(Phase.RESPONSE)
        self._is_waiting_to_send = False
        request, self._request = self._request, None
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._body_size = [], 0
        self._waiting.append(request)
        if len(self._waiting) > 1 or self._is_responding:
            self.transport.pause_reading()

    # Responses.

    def close_if_unused(self) -> None:
        """See `GuardedConnection`."""
        is_new = self.phase is Phase.HEAD and not self._has_begun
        if is_new or self.phase is Phase.IDLE:
            self._enter(Phase.LINGER)
            self.transport.close()

    def end(self, status: HTTPStatus) -> None:
        """See `GuardedConnection`; what comes now gets this status."""
        if self._is_done or self.transport.is_closing():
            self.transport.abort()
            return
        self._reject(_empty(status))
        if not self._is_responding:
            self._respond_to_waiting()

    def _reject(self, response: Response) -> None:
        """Respond with `response` to what comes now, after what came before, and read nothing further."""
        self._stop_reading()
        method = self._request.method if self._request else ""
        self._waiting.append(Request(method=method, target="", headers=[], closes_connection=True, rejection=response))

    def _stop_reading(self) -> None:
        self._is_done, self._is_waiting_to_send = True, False
        self._handler.release(self._body_size)
        self._body, self._body_size = [], 0

    def _drop_waiting(self) -> None:
        self._handler.release(sum(len(request.body) for request in self._waiting))
        self._waiting.clear()

    def _respond_to_waiting(self) -> None:
        """Respond to what waits, as far as that takes no time; the rest in a task or after other connections."""
        for _ in range(_AT_ONCE):
            if not self._waiting or not self._may_write or self._is_responding:
                break
            request = self._waiting.popleft()
            response = request.rejection or self._handler.respond(request)
            if not isinstance(response, Response):
                self._is_responding = True
                self._task = asyncio.get_running_loop().create_task(self._send_when_there(request, response))
                return
            self._send(request, response)
        if self._waiting:
            if self._may_write and not self._is_responding:
                asyncio.get_running_loop().call_soon(self._respond_to_waiting)
        elif not self._is_done and not self._is_responding:
            self.transport.resume_reading()
            if self._is_waiting_to_send:
                self._ask_for_body()

    def _ask_for_body(self) -> None:
        self._is_waiting_to_send = False
        self.transport.write(_CONTINUE)

    async def _send_when_there(self, request: Request, awaited: Awaitable[Response]) -> None:
        response = await awaited
        self._is_responding = False
        self._send(request, response)
        self._respond_to_waiting()

    def _send(self, request: Request, response: Response) -> None:
        self._handler.release(len(request.body))
        transport = self.transport
        if transport.is_closing():
            return
        are_no_more = (self._is_at_end or self._guard.is_draining) and not self._waiting
        closes_connection = request.closes_connection or response.closes_connection or are_no_more
        lines = self._handler.headers
        if closes_connection:
            lines += _CLOSE
        elif request.is_http_1_0:
            lines += b"Connection: keep-alive\r\n"
        head = _head(response, lines)
        self._write(head if request.method == "HEAD" else head + response.content)
        if closes_connection:
            self._finish()
        elif self.phase is Phase.RESPONSE and not self._waiting:
            self._enter(Phase.IDLE)

    def _write(self, content: bytes) -> None:
        self.written += len(content)
        if len(content) <= _WRITTEN_AT_ONCE:
            self.transport.write(content)
            return
        view = memoryview(content)
        for start in range(0, len(view), _WRITTEN_AT_ONCE):
            if self.transport.is_closing():  # the client is gone
                return
            self.transport.write(view[start : start + _WRITTEN_AT_ONCE])

    def _finish(self) -> None:
        """The last response is written. A client that is still sending must read it before the connection breaks."""
        has_sent_more = bool(self._waiting) or not self.transport.is_reading()
        is_sending = has_sent_more or self.phase in {Phase.HEAD, Phase.BODY}
        self._stop_reading()
        self._drop_waiting()
        self._enter(Phase.LINGER)
        if not is_sending or not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
            self.transport.resume_reading()
        except OSError:  # the client is gone
            self.transport.abort()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = time.monotonic()
        self._guard.moved_on(self)


def _head(response: Response, lines: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nDate: %b\r\n%b\r\n" % (
        response.status,
        _REASONS[response.status],
        response.media_type,
        len(response.content),
        _date(int(time.time())),
        lines,
    )


def _empty(status: HTTPStatus) -> Response:
    return Response(status=status, content=b"", media_type=b"text/plain", closes_connection=True)


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def _target(url: bytes) -> str:
    """Path and query, also where a client sends the whole address, as to a proxy."""
    if not url.startswith(b"/"):
        try:
            parts = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            parts = None
        if parts is not None and parts.path:
            url = parts.path + (b"?" + parts.query if parts.query else b"")
    return url.partition(b"#")[0].decode("latin-1")
