"""A key that requests must carry, over REST and gRPC: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""

import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainwright_components.model_server.status import invalid_argument

ENVIRONMENT_VARIABLE = "TRAINWRIGHT_API_KEY"
REJECTION = "This server needs an API key: send Authorization: Bearer KEY or X-API-Key: KEY"
_BEARER = b"bearer "


class ApiKey:
    """The key of a server; it never appears in a message or a log."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def __repr__(self) -> str:
        return "ApiKey(...)"

    def is_in(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether `headers`, with names in lower case, carry the key; takes as long for any wrong one."""
        for name, value in headers:
            if name == b"x-api-key":
                return hmac.compare_digest(value, self._key)
            if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
                return hmac.compare_digest(value[len(_BEARER) :].strip(), self._key)
        return False


def read_api_key(flag: str, file: str, environment: Mapping[str, str] = os.environ) -> ApiKey | None:
    """The key that the flag, the file or the environment gives, in this order; none where none does.

    Raises:
        StatusError: The file cannot be read, or the key is empty or holds what no header can.
    """
    if flag:
        key = flag
    elif file:
        try:
            key = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise invalid_argument(f"cannot read the API key in {file}: {error}") from error
    elif ENVIRONMENT_VARIABLE in environment:
        key = environment[ENVIRONMENT_VARIABLE]
    else:
        return None
    if not key or not key.isascii() or not key.isprintable() or key != key.strip():
        raise invalid_argument("an API key must be printable ASCII without spaces around it")
    return ApiKey(key)
