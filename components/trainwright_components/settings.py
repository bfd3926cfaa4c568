"""Untyped values, as they come from a pipeline's parameters, into a frozen dataclass of settings; knows no setting."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from trainwright_components.errors import InvalidSetting

Settings = TypeVar("Settings")


def typed_settings(kind: type[Settings], values: Any, *, where: str) -> Settings:
    """A `kind` of `values`, whose names and types are checked; `where` is the dotted name in messages.

    Raises:
        InvalidSetting: No mapping, an unknown name, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise InvalidSetting(f"{where} must be a mapping, got {values!r}")
    known = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]  # every caller's is a dataclass
    typed = {}
    for name, value in values.items():
        if name not in known:
            raise InvalidSetting(f"there is no {where} setting {name!r}; {_hint(name, known)}")
        typed[name] = _typed(f"{where}.{name}", value, known[name])
    return kind(**typed)


def check_minimum(settings: Any, *, where: str, minimum: Mapping[str, int]) -> None:
    """Refuse numbers below `minimum`, which is 0 for the settings that it does not name."""
    for field in fields(settings):
        value, lowest = getattr(settings, field.name), minimum.get(field.name, 0)
        if isinstance(value, int | float) and not isinstance(value, bool) and value < lowest:
            raise InvalidSetting(f"{where}.{field.name} must be at least {lowest}, got {value}")


def check_choice(value: str, choices: tuple[str, ...], *, where: str) -> None:
    """Refuse a text that is none of `choices`."""
    if value not in choices:
        known = ", ".join(choice or '""' for choice in choices)
        raise InvalidSetting(f"{where} must be one of {known}; got {value!r}")


def _hint(name: str, known: Mapping[str, Any]) -> str:
    inner = {f"{outer}.{field.name}" for outer, kind in known.items() if is_dataclass(kind) for field in fields(kind)}
    same = [dotted for dotted in inner if dotted.endswith(f".{name}")]
    close = same or difflib.get_close_matches(name, [*known, *inner], n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"


def _typed(name: str, value: Any, kind: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return typed_settings(kind, value, where=name)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _typed(name, value, inner[0])
    if origin is tuple:
        return tuple(_typed(name, each, inner[0]) for each in (value if isinstance(value, list | tuple) else [value]))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise InvalidSetting(f"{name} must be a mapping, got {value!r}")
        return {str(key): _typed(f"{name}.{key}", each, inner[1]) for key, each in value.items()}
    return _typed_scalar(name, value, kind)


def _typed_scalar(name: str, value: Any, kind: type) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and is_number and float(value).is_integer():
        return int(value)
    if kind is float and is_number:
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise InvalidSetting(f"{name} must be {words[kind]}, got {value!r}")
