"""A request as HTTP brings it."""

from dataclasses import dataclass

from trainwright_components.model_server.http.response import Response


@dataclass(kw_only=True, slots=True)
class Request:
    """A request.

    Args:
        method: Such as POST.
        target: Path and query as they came: the query is part of what must match.
        headers: Names in lower case, and values.
        closes_connection: The client wants the connection to end with the response.
        is_http_1_0: It came by HTTP/1.0, in which a connection ends with its response unless asked to be kept.
        rejection: The response, where it was known before the body was read.
        body: As it came, perhaps compressed.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    closes_connection: bool = False
    is_http_1_0: bool = False
    rejection: Response | None = None
    body: bytes = b""

    def header(self, name: bytes) -> bytes:
        """The value of a header; empty without it."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""
