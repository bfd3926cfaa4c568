"""The REST API: TensorFlow Serving's paths, bodies, error texts and status codes, as an ASGI application."""

import asyncio
import gzip
import json
import logging
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from trainwright_components.model_server.core import ServerCore
from trainwright_components.model_server.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.json_request import parse_object, read_predict, signature_name
from trainwright_components.model_server.json_response import write_predict
from trainwright_components.model_server.metadata import (
    get_model_metadata,
    get_model_status,
    metadata_json,
    status_json,
)
from trainwright_components.model_server.status import HTTP_STATUS, Code, StatusError, invalid_argument

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_MS = 30_000
MAX_UNCOMPRESSED_BYTES = 100 << 20
_INT64_LIMIT = 1 << 63
_VERSION_OR_LABEL = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION_OR_LABEL}:(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_STATUS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII
)
_CORS_ORIGIN = re.compile(r"https?://.*")
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


class RestApi:
    """Answers requests from one core.

    Args:
        core: Where models are looked up.
        timeout_ms: How long one request may take.
        threads: Requests computed at once.
        is_cors_enabled: Answer with the headers that let pages of other origins call.
    """

    def __init__(
        self, core: ServerCore, *, timeout_ms: int = DEFAULT_TIMEOUT_MS, threads: int, is_cors_enabled: bool = False
    ) -> None:
        self._core = core
        self._timeout_s = timeout_ms / 1000
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._headers = _CORS_HEADERS if is_cors_enabled else {}

    def application(self) -> Starlette:
        """The ASGI application."""
        route = Route("/{path:path}", self._answer, methods=["GET", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"])
        return Starlette(routes=[route])

    def close(self) -> None:
        """Wait for requests under way."""
        self._pool.shutdown(wait=True)

    async def _answer(self, request: Request) -> Response:
        target = _target(request)
        if not target.lower().startswith("/v1/"):
            return Response("Not Found", 404, media_type="text/html")
        if request.method == "OPTIONS":
            return self._preflight(request)
        try:
            body = await _body(request)
            text = await self._in_thread(request.method, target, body)
        except StatusError as error:
            content = '{ "error": ' + json.dumps(error.message, ensure_ascii=False) + " }"
            return self._response(content, HTTP_STATUS[error.code])
        return self._response(text, HTTP_STATUS[Code.OK])

    async def _in_thread(self, method: str, target: str, body: bytes) -> str:
        answer = asyncio.get_running_loop().run_in_executor(self._pool, self._process, method, target, body)
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification") from error

    def _process(self, method: str, target: str, body: bytes) -> str:
        try:
            return self._dispatch(method, target, body)
        except StatusError:
            raise
        except Exception as error:
            logger.exception("%s %s failed", method, target)
            raise StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}") from error

    def _dispatch(self, method: str, target: str, body: bytes) -> str:
        if method == "POST" and (match := _PREDICTION.fullmatch(target)):
            return self._infer(match, body)
        if method == "GET" and (match := _STATUS.fullmatch(target)):
            return self._describe(match)
        raise invalid_argument(f"Malformed request: {method} {target}")

    def _infer(self, match: re.Match[str], body: bytes) -> str:
        spec = _model_spec(match)
        method = match["method"].lower()
        if method != "predict":
            raise StatusError(Code.UNIMPLEMENTED, f"Method {method} is not implemented yet; use predict")
        document = parse_object(body)
        name = signature_name(document) or DEFAULT_SIGNATURE
        with self._core.handle(spec) as handle:
            signature = handle.servable.signatures.get(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {name}")
            inputs, is_row = read_predict(document, signature.inputs)
            outputs = handle.servable.run(name, inputs, sorted(signature.outputs))
        return write_predict(outputs, is_row=is_row)

    def _describe(self, match: re.Match[str]) -> str:
        if not match["name"]:
            raise invalid_argument("Missing model name in request.")
        spec = _model_spec(match)
        if match["part"]:
            fields = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
            return metadata_json(get_model_metadata(self._core, fields))
        return status_json(get_model_status(self._core, get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))

    def _preflight(self, request: Request) -> Response:
        if _CORS_ORIGIN.fullmatch(request.headers.get("origin", "")):
            return self._response("", HTTP_STATUS[Code.OK])
        return self._response("", HTTP_STATUS[Code.INVALID_ARGUMENT])

    def _response(self, content: str, status: int) -> Response:
        return Response(content, status, headers=self._headers, media_type="application/json")


def _target(request: Request) -> str:
    """Path and query as they came: the query is part of what must match."""
    query = request.scope["query_string"].decode("latin-1")
    path: str = request.scope["raw_path"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def _body(request: Request) -> bytes:
    body = await request.body()
    if "gzip" not in request.headers.get("content-encoding", ""):
        return body
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as file:
            plain = file.read(MAX_UNCOMPRESSED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise invalid_argument("Failed to uncompress the request body") from error
    if len(plain) > MAX_UNCOMPRESSED_BYTES:
        raise invalid_argument(f"The request body is over {MAX_UNCOMPRESSED_BYTES} bytes when uncompressed")
    return plain


def _model_spec(match: re.Match[str]) -> Any:
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        version = int(match["version"])
        if version >= _INT64_LIMIT:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = version
    if match["label"]:
        spec.version_label = unquote(match["label"])
    return spec
