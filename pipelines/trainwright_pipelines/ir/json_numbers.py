"""JSON for the record: NaN and infinite numbers, which Python writes and JSON has not, come back as they were."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_MARK = "$float"
_ENCODE = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps would make one for each call
_IS_MARK = re.compile(r"\$+float").fullmatch


def dump_json(value: Any) -> str:
    """`value` as JSON that every reader takes."""
    try:
        text = _ENCODE(value)
    except ValueError:  # of a number that JSON has not; of anything else once more below
        return json.dumps(_marked(value), allow_nan=False)
    return json.dumps(_marked(value)) if _MARK in text else text


def load_json(text: str | bytes) -> Any:
    """What `dump_json` was given."""
    mark = _MARK if isinstance(text, str) else _MARK.encode()
    return json.loads(text, object_hook=_unmarked) if mark in text else json.loads(text)  # type: ignore[operator]


def _marked(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_MARK: repr(value)}
    if isinstance(value, Mapping):
        return {f"${key}" if _IS_MARK(str(key)) else key: _marked(each) for key, each in value.items()}
    return [*map(_marked, value)] if isinstance(value, list | tuple) else value


def _unmarked(found: dict[str, Any]) -> Any:
    if list(found) == [_MARK]:
        return float(found[_MARK])
    return {key[1:] if _IS_MARK(key) else key: each for key, each in found.items()}


def odd_numbers(value: Any, name: str) -> Iterator[str]:
    """Where in `value` there are numbers that JSON has not: `loss.0 (NaN)`."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{name} ({json.dumps(value)})"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from odd_numbers(each, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from odd_numbers(each, f"{name}.{index}")
