"""A response as HTTP sends it."""

from dataclasses import dataclass

JSON = b"application/json"


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response.

    Args:
        closes_connection: The connection ends with it.
    """

    status: int
    content: bytes
    media_type: bytes = JSON
    closes_connection: bool = False
