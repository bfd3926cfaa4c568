"""What the code below a request may want to know of it: which method was called, and until when it is of use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """One request.

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


@contextmanager
def computing(api: str, timeout_s: float | None = None) -> Iterator[None]:
    """Compute a block for a request that may take `timeout_s` seconds from now."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    token = _context.set(RequestContext(api=api, deadline=deadline))
    try:
        yield
    finally:
        _context.reset(token)
