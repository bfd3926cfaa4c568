"""What the code below a request may want to know of it: which method was called, and until when it is of use."""

import time
from contextvars import ContextVar
from typing import NamedTuple


class RequestContext(NamedTuple):
    """One request; a tuple, since each request makes one.

    Args:
        api: Such as "Predict".
        deadline: On the monotonic clock; None where there is none.
    """

    api: str = "Predict"
    deadline: float | None = None


_context: ContextVar[RequestContext] = ContextVar("request", default=RequestContext())  # noqa: B039  # it is frozen


def current_request() -> RequestContext:
    """The request that this thread computes."""
    return _context.get()


class computing:  # noqa: N801  # reads as a verb
    """Compute a `with` block for a request that may take `timeout_s` seconds from now, or for several until `deadline`.

    Args:
        api: Such as "Predict".
        timeout_s: Goes before `deadline`.
        deadline: On the monotonic clock; none for no limit.
    """

    __slots__ = ("_request", "_token")

    def __init__(self, api: str, timeout_s: float | None = None, *, deadline: float | None = None) -> None:
        self._request = RequestContext(api, deadline if timeout_s is None else time.monotonic() + timeout_s)

    def __enter__(self) -> None:
        """Begin."""
        self._token = _context.set(self._request)

    def __exit__(self, *_: object) -> None:
        """End."""
        _context.reset(self._token)
