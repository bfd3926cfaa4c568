"""The fast way to read a predict request that is one rectangle of plain numbers, which most are.

It only ever says "this is the array" or "I cannot tell"; then `json_request` reads the request exactly. Both agree on
every body that this one reads, which tests hold against each other.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import simdjson
from tensorflow.core.framework import types_pb2

from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.model_server.rest.json_array import nearest
from trainwright_components.model_server.rest.json_request import JsonRequest

_KEPT_PARSER_BYTES = 1 << 20
_SHARED_PARSER_BYTES = 16 << 20
_MAX_RANK = 16
_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\r\n"
_ENDS = re.compile(rb"\A\[+")
_DECIMALS = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_DOUBLE: np.float64}
# By number of DataType: NumPy's type, and the values beyond which the exact way says what is wrong.
_INTEGERS = {
    types_pb2.DT_INT32: (np.int32, -(1 << 31), (1 << 31) - 1),
    types_pb2.DT_INT64: (np.int64, -(1 << 63), (1 << 63) - 1),
    types_pb2.DT_UINT32: (np.uint32, 0, (1 << 32) - 1),
    # Smaller types take what an int32 holds, and wrap.
    types_pb2.DT_INT8: (np.int8, -(1 << 31), (1 << 31) - 1),
    types_pb2.DT_INT16: (np.int16, -(1 << 31), (1 << 31) - 1),
    types_pb2.DT_UINT8: (np.uint8, -(1 << 31), (1 << 31) - 1),
}
_REMEMBERED_BRACKETS, _REMEMBERED_SHAPES = 64 << 10, 64
_shapes: dict[bytes, tuple[int, ...]] = {}
_parsers = threading.local()
_shared_parser, _parser_is_taken = simdjson.Parser(), threading.Lock()


def read_plain(body: bytes, signatures: Mapping[str, Any]) -> JsonRequest | None:
    """Read a predict request whose content is one rectangle of numbers; None where that cannot be told.

    Args:
        body: The request.
        signatures: SignatureDef by name.
    """
    if not body.startswith(b"{"):
        return None
    try:
        return _read(body, signatures)
    except (ValueError, TypeError, RuntimeError, KeyError):  # whatever it is, the exact way names it
        return None


def _read(body: bytes, signatures: Mapping[str, Any]) -> JsonRequest | None:
    if len(body) <= _KEPT_PARSER_BYTES:
        return _read_document(_kept_parser().parse(body), body, signatures)
    with _large_parser(len(body)) as parser:
        return _read_document(parser.parse(body), body, signatures)


def _read_document(document: Any, body: bytes, signatures: Mapping[str, Any]) -> JsonRequest | None:
    keys = list(document.keys())
    name = document["signature_name"] if "signature_name" in keys else ""
    forms = [key for key in keys if key != "signature_name"]
    if len(forms) != 1 or len(keys) > 2 or not isinstance(name, str):
        return None
    form = forms[0]
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if form not in {"instances", "inputs"} or signature is None or len(signature.inputs) != 1:
        return None
    ((alias, info),) = signature.inputs.items()
    value = document[form]
    if form == "inputs" and isinstance(value, simdjson.Object):
        if list(value.keys()) != [alias]:
            return None
        value = value[alias]
    array = _array(value, body, info.dtype) if isinstance(value, simdjson.Array) else None
    if array is None:
        return None
    return JsonRequest(signature_name=name or DEFAULT_SIGNATURE, inputs={alias: array}, is_row=form == "instances")


def _kept_parser() -> simdjson.Parser:
    """The parser of this thread; its memory stays as large as the largest body it read."""
    if not hasattr(_parsers, "mine"):
        _parsers.mine = simdjson.Parser()
    parser: simdjson.Parser = _parsers.mine
    return parser


@contextmanager
def _large_parser(size: int) -> Iterator[simdjson.Parser]:
    """The one that all threads share, if it is free and may grow to `size`: new memory takes half of the time."""
    if size <= _SHARED_PARSER_BYTES and _parser_is_taken.acquire(blocking=False):
        try:
            yield _shared_parser
        finally:
            _parser_is_taken.release()
    else:
        yield simdjson.Parser()


def _array(value: simdjson.Array, body: bytes, dtype: int) -> Any | None:
    if dtype in _DECIMALS:
        flat = nearest(np.frombuffer(value.as_buffer(of_type="d"), np.float64), _DECIMALS[dtype])
        if not flat.size:
            return None
    elif dtype in _INTEGERS:
        kind, lowest, highest = _INTEGERS[dtype]
        flat = np.frombuffer(value.as_buffer(of_type="i"), np.int64)
        if not flat.size or np.minimum.reduce(flat) < lowest or np.maximum.reduce(flat) > highest:
            return None
        flat = flat.astype(kind, copy=False)
    else:
        return None
    shape = _shape(body)
    return None if shape is None else flat.reshape(shape)


def _shape(body: bytes) -> tuple[int, ...] | None:
    """The shape of the only nest of lists in `body`; None if it is ragged, or not the only one."""
    skeleton = body.translate(None, _NUMBERS_AND_SPACE)
    brackets = skeleton[skeleton.find(b"[") : skeleton.rfind(b"]") + 1]
    known = _shapes.get(brackets)
    if known is None:
        known = _shape_of(brackets)
        if len(brackets) <= _REMEMBERED_BRACKETS and known is not None:
            if len(_shapes) >= _REMEMBERED_SHAPES:
                _shapes.clear()
            _shapes[brackets] = known
    return known


def _shape_of(brackets: bytes) -> tuple[int, ...] | None:
    opening = _ENDS.match(brackets)
    rank = opening.end() if opening else 0
    if not 0 < rank <= _MAX_RANK:
        return None
    sizes: list[int] = []
    unit = 0  # characters of one element of the level looked at, in `brackets`
    for level in range(1, rank + 1):  # from the innermost
        start = rank - level
        end = brackets.find(b"]" * level)
        if end < 0:
            return None
        inside = end + level - 1 - (start + 1)
        if (inside + 1) % (unit + 1):
            return None
        sizes.append((inside + 1) // (unit + 1))
        unit = inside + 2
    shape = tuple(reversed(sizes))
    return shape if brackets == _brackets(shape) else None


def _brackets(shape: tuple[int, ...]) -> bytes:
    """The nest of lists of that shape without its numbers."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text
