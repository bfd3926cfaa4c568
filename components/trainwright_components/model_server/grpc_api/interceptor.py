"""The API key over gRPC: calls without it end before a service sees them."""

from collections.abc import Callable
from typing import Any

import grpc

from trainwright_components.model_server.api_key import REJECTION, ApiKey


class ApiKeyInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # untyped
    """Rejects calls without the key; health checks need none."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key
        self._rejection = grpc.unary_unary_rpc_method_handler(_reject)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """See `grpc.ServerInterceptor`."""
        if details.method.startswith("/grpc.health.v1."):
            return continuation(details)
        headers = ((name.encode(), _bytes(value)) for name, value in details.invocation_metadata)
        return continuation(details) if self._key.is_in(headers) else self._rejection


def _reject(_request: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, REJECTION)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
