"""The text of a request body to a Python object, as RapidJSON reads it for TensorFlow Serving.

Where Python's parser differs for what a body may hold, it is read a second way, with care and more slowly: `Inf` is a
number, and one that is too large for a double is an error, not infinity.
"""

import json
import math
import re
from typing import Any

from trainwright_components.model_server.rest.json_values import shown
from trainwright_components.model_server.status import StatusError, invalid_argument

_MAX_CONTAINERS = 4 << 20  # each takes thirty times the memory of its two characters
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_SPACE = " \t\r\n"
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_SHORT_INFINITY = re.compile(r"Inf(?!inity)")
_STRING_OR_SHORT_INFINITY = re.compile(rf"{_STRING}|{_SHORT_INFINITY.pattern}", re.DOTALL)
_STRING_OR_NUMBER = re.compile(rf"{_STRING}|-?\d++(?:\.\d++)?(?:[eE][+-]?\d++)?", re.DOTALL | re.ASCII)
_LONG_EXPONENT = re.compile(r"[eE]\+?0*[1-9]\d\d", re.ASCII)
_DIGITS_OF_LARGEST = 309
_WINDOW = 100  # a number with an exponent of two digits is too large from 210 digits on: one window has only digits


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a request body, whose top level must be an object; bytes after it are ignored.

    Raises:
        StatusError: The body is no such JSON.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    if len(body) > _MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > _MAX_CONTAINERS:
        raise invalid_argument(f"JSON Parse error: more than {_MAX_CONTAINERS} lists and objects")
    try:
        text = _without_byte_order_mark(body).decode()
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from error
    try:
        document = _read_with_care(text) if _needs_care(text) else _read(_DECODER, text)
    except json.JSONDecodeError as error:
        raise _parse_error(_PARSE_ERRORS.get(error.msg, error.msg), error.pos) from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: nested too deeply") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {shown(document)} Is not object")
    return document


def _without_byte_order_mark(body: bytes) -> bytes:
    """The body with spaces for the mark: RapidJSON skips each of its bytes, and counts them (encodedstream.h)."""
    head = body[:3]
    rest = head.removeprefix(b"\xef").removeprefix(b"\xbb").removeprefix(b"\xbf")
    marked = len(head) - len(rest)
    return b" " * marked + body[marked:] if marked else body


def _parse_error(reason: str, offset: int) -> StatusError:
    return invalid_argument(f"JSON Parse error: {reason} at offset: {offset}")


def _needs_care(text: str) -> bool:
    """Whether `text` may hold `Inf`, or a number that no double holds."""
    return (
        _SHORT_INFINITY.search(text) is not None
        or _LONG_EXPONENT.search(text) is not None
        or any(text[start : start + _WINDOW].isdigit() for start in range(0, len(text), _WINDOW))
    )


def _read_with_care(text: str) -> Any:
    matches = _STRING_OR_SHORT_INFINITY.finditer(text)
    short = [match.start() for match in matches if not match[0].startswith('"')]
    long_text = _STRING_OR_SHORT_INFINITY.sub(lambda match: "Infinity" if match[0] == "Inf" else match[0], text)
    try:
        return _read(_CAREFUL_DECODER, long_text)
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, text, _offset_without(short, error.pos)) from error
    except _TooBigError as error:
        tokens = _STRING_OR_NUMBER.finditer(text)
        offset = next(token.start() for token in tokens if token[0][0] != '"' and math.isinf(float(token[0])))
        raise _parse_error("Number too big to be stored in double.", offset) from error


def _offset_without(short: list[int], offset: int) -> int:
    """Where `offset` is in the text in which infinities, from the offsets in `short` on, are three letters long."""
    for start in short:
        if start + len("Infinity") > offset:
            break
        offset -= len("Infinity") - len("Inf")
    return offset


def _read(decoder: json.JSONDecoder, text: str) -> Any:
    return decoder.raw_decode(text, len(text) - len(text.lstrip(_SPACE)))[0]


class _TooBigError(Exception):
    """A number that no double holds."""


def _decimal(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _TooBigError
    return number


def _integer(digits: str) -> int:
    if len(digits) >= _DIGITS_OF_LARGEST:
        _decimal(digits)
    return int(digits)


def _first_of_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_duplicates)
_CAREFUL_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_duplicates, parse_float=_decimal, parse_int=_integer)
