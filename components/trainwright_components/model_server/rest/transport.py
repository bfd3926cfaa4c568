"""HTTP around the REST API, as an ASGI application: bodies and their limits, headers, threads, timeouts."""

import asyncio
import gzip
import json
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from trainwright_components.model_server.api_key import REFUSAL, ApiKey
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.request_context import computing
from trainwright_components.model_server.rest.api import NotQuick, RestApi
from trainwright_components.model_server.rest.pages import OPEN_PATHS, Page
from trainwright_components.model_server.status import HTTP_STATUS, Code, StatusError, invalid_argument

DEFAULT_TIMEOUT_MS = 30_000
MAX_BODY_BYTES = 100 << 20
"""What TensorFlow Serving allows a compressed body to grow to; here the limit of every body."""

_CORS_ORIGIN = re.compile(rb"https?://.*")
_CORS_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]

_SMALL_BYTES = 64 << 10  # reading more keeps the loop from others
_PAUSE = 32  # requests of a path that turned out slow, until a quick answer is tried again
_REMEMBERED_TARGETS = 1024
_SUBJECT = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:.*?[:/](?P<method>predict|classify|regress|metadata)$)?", re.I)
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress", "metadata": "GetModelMetadata"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]


class RestTransport:
    """The ASGI application.

    Args:
        api: Answers what the paths under `/v1/` ask.
        metrics: Counts the requests.
        pages: What other paths answer to GET; the path has to be equal.
        timeout_ms: How long one request may take.
        threads: Requests computed at once.
        max_body_bytes: Largest body, as sent and after decompression.
        api_key: What requests must carry, but for probes and questions about other origins.
        is_cors_enabled: Answer with the headers that let pages of other origins call.
    """

    def __init__(
        self,
        api: RestApi,
        *,
        threads: int,
        metrics: ServingMetrics | None = None,
        pages: Mapping[str, Callable[[], Page]] | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_body_bytes: int = MAX_BODY_BYTES,
        api_key: ApiKey | None = None,
        is_cors_enabled: bool = False,
    ) -> None:
        self._api = api
        self._pages = dict(pages or {})
        self._metrics = metrics or ServingMetrics()
        self._timeout_s = timeout_ms / 1000
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._max_body_bytes = max_body_bytes
        self._api_key = api_key
        self._held_bytes = 0
        self._max_held_bytes = 2 * max_body_bytes
        self._pauses: dict[str, int] = {}
        self._headers = _CORS_HEADERS if is_cors_enabled else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        page = await self._page(scope, receive)
        headers = [
            (b"content-type", page.media_type),
            (b"content-length", str(len(page.content)).encode()),
            *self._headers,
        ]
        if page.is_last:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": page.content})

    def close(self) -> None:
        """Wait for requests under way."""
        self._pool.shutdown(wait=True)

    async def _page(self, scope: Scope, receive: Receive) -> Page:
        method: str = scope["method"]
        target = _target(scope)
        if method == "GET" and target in OPEN_PATHS & self._pages.keys():
            return await self._in_thread(self._pages[target])
        if self._api_key is not None and method != "OPTIONS" and not self._api_key.is_in(scope["headers"]):
            return _error_page(StatusError(Code.UNAUTHENTICATED, REFUSAL))
        path = target.partition("?")[0]
        if method == "GET" and path in self._pages:
            if path != target:
                return _unexpected_path(target, path)
            return await self._in_thread(self._pages[path])
        if target[:4].lower() != "/v1/":
            return Page(status=404, content=b"Not Found", media_type=b"text/html; charset=utf-8")
        if method == "OPTIONS":
            return _preflight(scope)
        try:
            body = await self._body(receive)
        except StatusError as error:  # what follows of the body is not read
            return replace(_error_page(error), is_last=True)
        self._held_bytes += len(body)
        try:
            is_packed = b"gzip" in _header(scope, b"content-encoding")
            if len(body) <= _SMALL_BYTES and not is_packed and self._may_be_quick(target):
                page = self._answer_here(method, target, body)
                if page is not None:
                    return page
            return await self._in_thread(lambda: self._answer(method, target, self._plain(body) if is_packed else body))
        except StatusError as error:
            return _error_page(error)
        finally:
            self._held_bytes -= len(body)

    def _may_be_quick(self, target: str) -> bool:
        """Whether to try an answer in the loop's own thread: never a path's first, seldom after it was slow."""
        left = self._pauses.get(target)
        if left is None:
            if len(self._pauses) >= _REMEMBERED_TARGETS:
                self._pauses.clear()
            self._pauses[target] = 0
            return False
        if left:
            self._pauses[target] = left - 1
        return not left

    def _answer_here(self, method: str, target: str, body: bytes) -> Page | None:
        try:
            return self._answer(method, target, body, must_be_quick=True)
        except NotQuick:
            self._pauses[target] = _PAUSE
            return None

    def _answer(self, method: str, target: str, body: bytes, *, must_be_quick: bool = False) -> Page:
        model, api = _subject(target)
        started = time.perf_counter()
        try:
            with computing(api, self._timeout_s):
                answer = self._api.answer(method, target, body, must_be_quick=must_be_quick)
        except StatusError as error:
            self._metrics.request_done(model, api, "REST", error.code.name, time.perf_counter() - started)
            raise
        self._metrics.request_done(model, api, "REST", Code.OK.name, time.perf_counter() - started)
        return Page(status=200, content=answer.encode())

    async def _in_thread(self, compute: Callable[[], Page]) -> Page:
        answer = asyncio.get_running_loop().run_in_executor(self._pool, compute)
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification") from error

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest_of_body(body, receive)
        if len(body) > self._max_body_bytes:
            raise self._too_large("over")
        return body

    async def _rest_of_body(self, first: bytes, receive: Receive) -> bytes:
        chunks, size, has_more = [first], len(first), True
        self._held_bytes += size
        try:
            while has_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise StatusError(Code.CANCELLED, "The client went away")
                chunk: bytes = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                self._held_bytes += len(chunk)
                if size > self._max_body_bytes:
                    raise self._too_large("over")
                if self._held_bytes > self._max_held_bytes:
                    raise StatusError(Code.RESOURCE_EXHAUSTED, "The server holds as many bytes of requests as it may")
                has_more = message.get("more_body", False)
            return b"".join(chunks)
        finally:
            self._held_bytes -= size

    def _plain(self, body: bytes) -> bytes:
        try:
            with gzip.GzipFile(fileobj=BytesIO(body)) as file:
                plain = file.read(self._max_body_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise invalid_argument("Failed to uncompress the request body") from error
        if len(plain) > self._max_body_bytes:
            raise self._too_large("when uncompressed over")
        return plain

    def _too_large(self, how: str) -> StatusError:
        return invalid_argument(f"The request body is {how} {self._max_body_bytes} bytes")


def _error_page(error: StatusError) -> Page:
    content = '{ "error": ' + json.dumps(error.message, ensure_ascii=False) + " }"
    return Page(status=HTTP_STATUS[error.code], content=content.encode(errors="replace"))


def _unexpected_path(target: str, path: str) -> Page:
    return Page(status=400, content=f"Unexpected path: {target}. Should be {path}".encode(), media_type=b"text/plain")


def _preflight(scope: Scope) -> Page:
    is_known = _CORS_ORIGIN.fullmatch(_header(scope, b"origin"))
    return Page(status=HTTP_STATUS[Code.OK if is_known else Code.INVALID_ARGUMENT], content=b"")


@lru_cache(maxsize=1024)
def _subject(target: str) -> tuple[str, str]:
    """The model that a path names, and the method, as metrics call it."""
    match = _SUBJECT.match(target)
    if match is None:
        return "", "Unknown"
    method = (match["method"] or "").lower()
    return unquote(match["model"]), _APIS.get(method, "GetModelStatus")


def _target(scope: Scope) -> str:
    """Path and query as they came: the query is part of what must match."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
