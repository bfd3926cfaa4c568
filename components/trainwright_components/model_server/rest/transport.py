"""What HTTP adds to the REST API: bodies and their limits, keys and origins, threads, timeouts."""

import asyncio
import gzip
import json
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import unquote

from trainwright_components.model_server.api_key import REJECTION, ApiKey
from trainwright_components.model_server.http.connection import Handler
from trainwright_components.model_server.http.request import Request
from trainwright_components.model_server.http.response import Response
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.request_context import computing
from trainwright_components.model_server.rest.api import NotQuick, ParsedPredict, RestApi
from trainwright_components.model_server.rest.operator_pages import OPEN_PATHS
from trainwright_components.model_server.status import HTTP_STATUS, Code, StatusError, invalid_argument

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_MS = 30_000
MAX_BODY_BYTES = 100 << 20
"""What TensorFlow Serving allows a compressed body to grow to; here the limit of every body."""

_CORS_ORIGIN = re.compile(rb"https?://.*")
_CORS_HEADERS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)

_SMALL_BYTES = 64 << 10  # reading more keeps the loop from others
_PAUSE = 32  # requests of a path that turned out slow, until a quick answer is tried again
_REMEMBERED_TARGETS = 1024
_SUBJECT = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:.*?[:/](?P<method>predict|classify|regress|metadata)$)?", re.I)
_APIS = {"predict": "Predict", "classify": "Classify", "regress": "Regress", "metadata": "GetModelMetadata"}


class RestTransport:
    """Responds to the requests of `HttpConnection`s; a `Handler` of them.

    Args:
        api: Answers what the paths under `/v1/` ask.
        metrics: Counts the requests.
        pages: What other paths respond to GET; the path has to be equal.
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
        pages: Mapping[str, Callable[[], Response]] | None = None,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        max_body_bytes: int = MAX_BODY_BYTES,
        api_key: ApiKey | None = None,
        is_cors_enabled: bool = False,
    ) -> None:
        self._api = api
        self.headers = _CORS_HEADERS if is_cors_enabled else b""
        self._pages = dict(pages or {})
        self._open_pages = OPEN_PATHS & self._pages.keys()
        self._metrics = metrics or ServingMetrics()
        self._timeout_s = timeout_ms / 1000
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._max_body_bytes = max_body_bytes
        self._api_key = api_key
        self._held_bytes = 0
        self._max_held_bytes = 2 * max_body_bytes
        self._pauses: dict[str, int] = {}

    def reject(self, request: Request) -> Response | None:
        """The response to a request that is rejected by its head alone."""
        method, target = request.method, request.target
        if method == "GET" and target in self._open_pages:
            return None
        if self._api_key is not None and method != "OPTIONS" and not self._api_key.is_in(request.headers):
            return _error_response(StatusError(Code.UNAUTHENTICATED, REJECTION))
        if method == "GET" and (path := target.partition("?")[0]) in self._pages:
            return None if path == target else _unexpected_path(target, path)
        if target[:4].lower() != "/v1/":
            return Response(status=404, content=b"Not Found", media_type=b"text/html; charset=utf-8")
        if method == "OPTIONS":
            return _preflight(request)
        if int(request.header(b"content-length") or 0) > self._max_body_bytes:
            return _error_response(self._too_large("over"), closes_connection=True)
        return None

    def reserve(self, size: int, so_far: int) -> Response | None:
        """Count bytes of a body; the response if it, or all that are held, are too large."""
        self._held_bytes += size
        if so_far > self._max_body_bytes:
            return _error_response(self._too_large("over"), closes_connection=True)
        if self._held_bytes > self._max_held_bytes:
            error = StatusError(Code.RESOURCE_EXHAUSTED, "The server holds as many bytes of requests as it may")
            return _error_response(error, closes_connection=True)
        return None

    def release(self, size: int) -> None:
        """Bytes of bodies are done with."""
        self._held_bytes -= size

    def respond(self, request: Request) -> Response | Awaitable[Response]:
        """The response, at once if the model is known to compute it sooner than a thread would take it over."""
        target = request.target
        if (
            len(request.body) > _SMALL_BYTES
            or target in self._pages
            or _is_gzipped(request)
            or not self._may_be_quick(target)
        ):
            return self._respond_in_thread(request)
        try:
            return self._answer(request.method, target, request.body, must_be_quick=True)
        except NotQuick as error:
            self._pauses[target] = _PAUSE
            return self._respond_in_thread(request, error.parsed)
        except StatusError as error:
            return _error_response(error)

    async def _respond_in_thread(self, request: Request, parsed: ParsedPredict | None = None) -> Response:
        """The response, computed in a thread, or that there was none in time."""
        response = asyncio.get_running_loop().run_in_executor(self._pool, self._compute, request, parsed)
        try:
            return await asyncio.wait_for(response, self._timeout_s)
        except TimeoutError:
            return _error_response(StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification"))
        except StatusError as error:
            return _error_response(error)
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.target)
            return _error_response(StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}"))

    def close(self) -> None:
        """Wait for requests under way."""
        self._pool.shutdown(wait=True)

    def _compute(self, request: Request, parsed: ParsedPredict | None) -> Response:
        if request.method == "GET" and request.target in self._pages:
            return self._pages[request.target]()
        body = self._plain(request.body) if _is_gzipped(request) else request.body
        return self._answer(request.method, request.target, body, parsed=parsed)

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

    def _answer(
        self, method: str, target: str, body: bytes, *, must_be_quick: bool = False, parsed: ParsedPredict | None = None
    ) -> Response:
        model, api = _subject(target)
        started = time.perf_counter()
        try:
            with computing(api, self._timeout_s):
                answer = self._api.answer(method, target, body, must_be_quick=must_be_quick, parsed=parsed)
        except StatusError as error:
            self._metrics.request_done(model, api, "REST", error.code.name, time.perf_counter() - started)
            raise
        self._metrics.request_done(model, api, "REST", Code.OK.name, time.perf_counter() - started)
        return Response(status=200, content=answer.encode())

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


def _error_response(error: StatusError, *, closes_connection: bool = False) -> Response:
    content = '{ "error": ' + json.dumps(error.message, ensure_ascii=False) + " }"
    return Response(
        status=HTTP_STATUS[error.code], content=content.encode(errors="replace"), closes_connection=closes_connection
    )


def _unexpected_path(target: str, path: str) -> Response:
    return Response(
        status=400, content=f"Unexpected path: {target}. Should be {path}".encode(), media_type=b"text/plain"
    )


def _preflight(request: Request) -> Response:
    is_known = _CORS_ORIGIN.fullmatch(request.header(b"origin"))
    return Response(status=HTTP_STATUS[Code.OK if is_known else Code.INVALID_ARGUMENT], content=b"")


@lru_cache(maxsize=1024)
def _subject(target: str) -> tuple[str, str]:
    """The model that a path names, and the method, as metrics call it."""
    match = _SUBJECT.match(target)
    if match is None:
        return "", "Unknown"
    method = (match["method"] or "").lower()
    return unquote(match["model"]), _APIS.get(method, "GetModelStatus")


def _is_gzipped(request: Request) -> bool:
    return b"gzip" in request.header(b"content-encoding")


if TYPE_CHECKING:
    _: type[Handler] = RestTransport
