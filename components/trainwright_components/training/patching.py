"""Patch an attribute of an object or a module for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patched_attribute(holder: Any, name: str, value: Any) -> Iterator[None]:
    """`holder.name` is `value` for a while; what an instance has of its class it has again afterwards."""
    was_own = name in vars(holder)
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before) if was_own else delattr(holder, name)
