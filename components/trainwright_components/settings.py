"""Untyped values, as a pipeline's parameters or a YAML file give them, as a frozen dataclass of settings.

A settings class says everything once: its fields have names with their units, types and defaults, and the `Args` of its
docstring the texts. Knows no setting itself. (Not pydantic: it would cost each step 0.2 s, and its messages, which name
neither the whole setting nor what was meant, would all have to be written anew.)
"""

import inspect
import json
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from dataclasses import Field as DataclassField
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, get_args, get_origin

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class _Group(DataclassInstance, Protocol):
        @classmethod
        def from_mapping(cls, values: Mapping[str, Any], /) -> Self: ...


Settings = TypeVar("Settings")
Group = TypeVar("Group", bound="_Group")

# A field that has this in its metadata is not a setting of the group: it comes from the parameter that stands there.
GIVEN_BY = "given_by"
# A class of nested settings may name the field that a bare value stands for: `worker: 2` for `worker: {replicas: 2}`.
SHORTHAND = "SHORTHAND"

_ITEM = re.compile(r"^(?P<name>\w+)(?: \([^)]*\))?: (?P<text>.*)$")
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as documentation and listings show it; nested ones have dotted names."""

    name: str
    type: str
    default: str
    description: str


def read_settings(kind: type[Settings], values: Any, *, where: str, given: Mapping[str, Any] | None = None) -> Settings:
    """A `kind` of `values`, whose names and types are checked.

    Args:
        kind: A dataclass of settings; what is wrong with the values themselves its `__post_init__` says.
        values: What was written, by name.
        where: The dotted name in messages.
        given: Values of fields that are not settings of the group, see `GIVEN_BY`.

    Raises:
        InvalidSetting: Not a mapping, an unknown name, or a value that cannot be used.
    """
    return kind(**_typed_fields(kind, values, where=where), **(given or {}))


def given_settings(kind: type[Group], given: Group | Mapping[str, Any] | None) -> Group:
    """The settings that a function was called with: a `kind`, its fields by name, or None for all defaults.

    Raises:
        InvalidSetting: Something else was given, an unknown name, or a value that cannot be used.
    """
    if given is None:
        return kind()
    if isinstance(given, kind):
        return _with_types(given, where=kind.__name__)
    values: Any = given
    if not isinstance(values, Mapping):
        return kind.from_mapping(values)  # which says what it must be
    apart = {each.name: each.type for each in fields(kind) if GIVEN_BY in each.metadata}
    group = kind.from_mapping({name: value for name, value in values.items() if name not in apart})
    return replace(group, **{name: _typed(name, values[name], apart[name]) for name in apart.keys() & values.keys()})


def check_mapping(values: Any, *, where: str) -> None:
    """Refuse what is not a mapping."""
    if not isinstance(values, Mapping):
        raise InvalidSetting(f"{where} must be a mapping, got {values!r}")


def check_minimum(settings: Any, *, where: str, minimum: Mapping[str, int | None], above_0: Iterable[str] = ()) -> None:
    """Refuse numbers below `minimum`, which is 0 for the settings that it does not name; None is no limit.

    Values of the wrong type, which Python takes when settings are made, are refused too: what follows compares numbers.
    """
    for each in fields(settings):
        value, lowest = getattr(settings, each.name), minimum.get(each.name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool):
            if each.type in (int, float):
                _typed_scalar(f"{where}.{each.name}", value, each.type)
            continue
        if each.name in above_0 and not value > 0:
            raise InvalidSetting(f"{where}.{each.name} must be above 0, got {value}")
        if lowest is not None and not value >= lowest:
            raise InvalidSetting(f"{where}.{each.name} must be at least {lowest}, got {value}")


def check_choice(value: str, choices: Iterable[str], *, where: str) -> None:
    """Refuse a text that is none of `choices`."""
    names = tuple(choices)
    if value not in names:
        known = ", ".join(choice if any(map(str.isalnum, choice)) else f'"{choice}"' for choice in names)
        hint = did_you_mean(str(value), names, list_at_most=0) if value else ""
        raise InvalidSetting(f"{where} must be one of {known}; got {value!r}{hint}")


def is_enabled(group: Any, *, where: str) -> bool:
    """The `enabled` of a group, read without knowing the rest of it; true when it is not set."""
    check_mapping(group, where=where)
    enabled: bool = _typed_scalar(f"{where}.enabled", group.get("enabled", True), bool)
    return enabled


def check_enabled(enabled: bool, *, where: str, output: str) -> None:
    """Refuse to do in a step what the step's own group switches off: its outputs have to be there once it has run."""
    if not enabled:
        raise InvalidSetting(
            f"{where}.enabled is false, but this step runs: put it under dsl.If on evaluate's output {output!r}, "
            f"or set {where}.enabled=true"
        )


def list_settings(kind: type[Any], *, prefix: str = "") -> tuple[Setting, ...]:
    """The settings of a class in their order; those of nested classes under dotted names."""
    texts = docstring_items(kind.__doc__ or "", "Args")
    found: list[Setting] = []
    for each in _settings(kind):
        name = f"{prefix}{each.name}"
        nested = _nested(each)
        if nested and not hasattr(nested, SHORTHAND):
            inner = list_settings(nested, prefix=f"{name}.")
            plain = {f"{name}.{key}": value for key, value in asdict(_default(each)).items()}
            found += [replace(one, default=json.dumps(plain[one.name])) for one in inner]
            continue
        found.append(
            Setting(
                name=name,
                type=_type_words(each.type),
                default=json.dumps(0 if nested else _default(each)),
                description=texts.get(each.name, ""),
            )
        )
    return tuple(found)


def docstring_items(docstring: str, title: str) -> dict[str, str]:
    """Items of one section of a Google-style docstring; following indented lines belong to an item."""
    _, found, rest = inspect.cleandoc(docstring).partition(f"\n{title}:\n")
    items: dict[str, str] = {}
    name = ""
    for line in rest.splitlines() if found else ():
        if line and not line.startswith(" "):
            break
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if indent <= 4 and (match := _ITEM.match(text)):
            name = match["name"]
            items[name] = match["text"]
        elif name and text:
            items[name] += f" {text}"
    return items


def _typed_fields(kind: type[Any], values: Any, *, where: str) -> dict[str, Any]:
    check_mapping(values, where=where)
    known = {each.name: each for each in _settings(kind)}
    typed = {}
    for name, value in values.items():
        if name not in known:
            raise InvalidSetting(f"there is no {where} setting {str(name)!r}{_hint(kind, str(name), known)}")
        typed[name] = _typed_field(f"{where}.{name}", value, known[name])
    return typed


def _with_types(settings: Group, *, where: str) -> Group:
    """Settings whose values have the types of their fields, which Python does not look at when they are made."""
    typed: dict[str, Any] = {}
    for each in fields(settings):
        name, value, nested = f"{where}.{each.name}", getattr(settings, each.name), _nested(each)
        is_made = nested is not None and isinstance(value, nested)
        typed[each.name] = _with_types(value, where=name) if is_made else _typed_field(name, value, each)
    return replace(settings, **typed)


def _typed_field(name: str, value: Any, field: "DataclassField[Any]") -> Any:
    """Nested settings keep the default of what they do not name."""
    kind = _nested(field)
    if kind is None:
        return _typed(name, value, field.type)
    short = getattr(kind, SHORTHAND, "")
    if short and not isinstance(value, Mapping):
        [inner] = [each for each in fields(kind) if each.name == short]
        return replace(_default(field), **{short: _typed(name, value, inner.type)})
    return replace(_default(field), **_typed_fields(kind, value, where=name))


def _hint(kind: type[Any], name: str, known: Mapping[str, "DataclassField[Any]"]) -> str:
    elsewhere = {each.name: each.metadata[GIVEN_BY] for each in fields(kind) if GIVEN_BY in each.metadata}
    if name in elsewhere:
        return f"; it is the parameter {elsewhere[name]!r}"
    nested = {outer: _nested(each) for outer, each in known.items()}
    inner = [f"{outer}.{each.name}" for outer, found in nested.items() if found for each in fields(found)]
    same = [dotted for dotted in inner if dotted.endswith(f".{name}")]
    if same:
        return f"; did you mean {same[0]!r}?"
    return did_you_mean(name, [*known, *inner], list_at_most=0) or f"; there is: {', '.join(known)}"


def _typed(name: str, value: Any, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:
        return None if value is None else _typed(name, value, inner[0])
    if origin is tuple:
        return tuple(
            _typed(name, each, inner[0])
            for each in (value if isinstance(value, list | tuple | set | frozenset) else [value])
        )
    if origin is Mapping:
        check_mapping(value, where=name)
        return {str(key): _typed(f"{name}.{key}", each, inner[1]) for key, each in value.items()}
    return _typed_scalar(name, value, kind)


def _typed_scalar(name: str, value: Any, kind: type) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            check_choice(value, kind, where=name)
    if kind is int and is_number and value == int(value):
        return int(value)
    if kind is float and is_number:
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    advice = "; put it in quotes" if kind is str and value is not None and not isinstance(value, list | Mapping) else ""
    unit = " of seconds" if kind is float and name.endswith("_s") else ""
    raise InvalidSetting(f"{name} must be {_WORDS[kind]}{unit}, got {value!r}{advice}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _settings(kind: type[Any]) -> Iterator["DataclassField[Any]"]:
    return (each for each in fields(kind) if GIVEN_BY not in each.metadata)


def _nested(field: "DataclassField[Any]") -> Any:
    """The class of nested settings, None for a plain value."""
    return field.type if isinstance(field.type, type) and is_dataclass(field.type) else None


def _default(field: "DataclassField[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _type_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return f"{_type_words(inner[0])} or null"
    if origin in (tuple, Mapping):
        return "list" if origin is tuple else "mapping"
    if is_dataclass(kind):
        [short] = [each for each in fields(kind) if each.name == getattr(kind, SHORTHAND)]
        return f"{_type_words(short.type)}, or a mapping of {', '.join(each.name for each in fields(kind))}"
    return _WORDS[str if issubclass(kind, str) else kind].removeprefix("an ").removeprefix("a ")
