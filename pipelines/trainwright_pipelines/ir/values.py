"""Parameter values as KFP types them. Integers stay whole, inside lists and structs too."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from trainwright_components.errors import InvalidSetting

MAX_SAFE_INTEGER = 2**53 - 1
_FIRST_WITH_EXPONENT = 1e21
_MAX_DEPTH = 200
_TOO_DEEP = f"{{!r}} has lists or mappings in each other more than {_MAX_DEPTH} deep"


def plain(value: Any) -> Any:
    """A value of the spec with its numbers as written: the compiler's protocol buffers turn 3 into 3.0.

    KFP's JSON has no point in a whole number below 1e21, so that a Python component reads an integer (appendFloat in
    internal/encoding/json/encode.go of google.golang.org/protobuf).
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _FIRST_WITH_EXPONENT:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def as_json(value: Any, *, name: str) -> Any:
    """`value` in the types of JSON, in which a run is recorded and sent: paths as text, tuples as lists.

    Raises:
        InvalidSetting: JSON has no such value; says where in it.
    """
    try:
        return _as_json(value, name, ())
    except RecursionError as error:
        raise InvalidSetting(_TOO_DEEP.format(name)) from error


def _as_json(value: Any, name: str, around: tuple[int, ...]) -> Any:
    if id(value) in around:
        raise InvalidSetting(f"parameter {name!r} is a part of itself")
    within = (*around, id(value))
    if isinstance(value, Mapping):
        named = [(_key(key, name), each) for key, each in value.items()]
        if len(dict(named)) < len(named):
            raise InvalidSetting(f"parameter {name!r} has a name twice, as text and as a number: {value!r}")
        return {key: _as_json(each, f"{name}.{key}", within) for key, each in named}
    if isinstance(value, list | tuple):
        return [_as_json(each, f"{name}.{index}", within) for index, each in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidSetting(f"parameter {name!r} must be a number, neither NaN nor infinite; got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidSetting(
        f"parameter {name!r} must be a string, a number, true or false, a list or a mapping; got {value!r}"
    )


def _key(key: Any, name: str) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise InvalidSetting(f"the names in parameter {name!r} must be strings, got {key!r}")
    return str(key)


def to_text(value: Any) -> str:
    """How a value looks on a command line: text as it is, anything else as JSON, nothing as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def placeholder_text(value: Any) -> str:
    """What stands in place of a placeholder: as `to_text`, but a number without exponent and without needless zeros.

    As KFP writes it: strconv.FormatFloat(number, 'f', -1, 64), in getPlaceholders of
    backend/src/v2/component/launcher_v2.go.
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return to_text(value)
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def coerce(value: Any, kind: str, *, name: str) -> Any:
    """`value` as the type `kind`, read from text or written to it where the types differ.

    Raises:
        InvalidSetting: It cannot be read so.
    """
    check_depth(value, name=name)
    if value is None or kind not in _READERS:
        return value
    try:
        found = _READERS[kind](value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidSetting(f"parameter {name!r} takes {_TITLES[kind]}, got {to_text(value)[:200]!r}") from error
    check_depth(found, name=name)
    return found


def check_literal(value: Any, literals: Sequence[Any], *, name: str) -> None:
    """Hold `value` against the only ones that an input allows, if it says which.

    KFP's driver does so for each task: ValidateLiteralParameter, called in resolveInputs of backend/src/v2/driver.

    Raises:
        InvalidSetting: It is none of them.
    """
    if literals and value not in literals:
        raise InvalidSetting(f"parameter {name!r} is one of {', '.join(map(str, literals))}, got {value!r}")


def check_depth(value: Any, *, name: str) -> None:
    """Check that lists and mappings in each other can be walked through, written and read.

    Raises:
        InvalidSetting: They are too deep.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inside
            for each in level
            if isinstance(each, Mapping | list | tuple)
            for inside in (each.values() if isinstance(each, Mapping) else each)
        ]
        if not level:
            return
    raise InvalidSetting(_TOO_DEEP.format(name))


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = float(value) if isinstance(value, str) and not value.strip().lstrip("+-").isdigit() else value
    if isinstance(number, float) and not number.is_integer():
        raise ValueError
    return int(number)


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    return {"true": True, "false": False}[value.strip().lower()] if _is_bool_text(value) else _refuse()


def _is_bool_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in {"true", "false"}


def _refuse() -> bool:
    raise ValueError


def _list(value: Any) -> list[Any]:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple):
        raise TypeError
    return list(found)


def _struct(value: Any) -> Any:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise TypeError
    return dict(found)


_READERS: dict[str, Callable[[Any], Any]] = {
    "NUMBER_INTEGER": _integer,
    "NUMBER_DOUBLE": _double,
    "STRING": to_text,
    "BOOLEAN": _boolean,
    "LIST": _list,
    "STRUCT": _struct,
}

_TITLES = {
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "STRING": "a string",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a mapping",
}
