"""A request as HTTP brings it."""

from dataclasses import dataclass

from trainwright_components.model_server.rest.operator_pages import Page


@dataclass(kw_only=True, slots=True)
class Request:
    """A request.

    Args:
        method: Such as POST.
        target: Path and query as they came: the query is part of what must match.
        headers: Names in lower case, and values.
        is_last: The client wants the connection to end with the answer.
        is_old: It came by HTTP/1.0.
        refusal: An answer that was found before the body was read.
        body: As it came, perhaps compressed.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    is_last: bool = False
    is_old: bool = False
    refusal: Page | None = None
    body: bytes = b""

    def header(self, name: bytes) -> bytes:
        """The value of a header; empty without it."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""
