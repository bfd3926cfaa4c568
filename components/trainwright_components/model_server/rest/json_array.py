"""One JSON value to one tensor, by TensorFlow Serving's rules and with its error texts.

Lists of plain numbers go through NumPy in one step. Whatever does not fit that way is read value by value, which knows
every rule and every message.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf

from trainwright_components.model_server.rest.json_values import json_type, shown, type_text
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_INT64 = (-(1 << 63), (1 << 63) - 1)
_INT32 = (-(1 << 31), (1 << 31) - 1)
_UINT32 = (0, (1 << 32) - 1)
_UINT64 = (0, (1 << 64) - 1)
_INT_RANGES = {
    tf.int8: _INT32,
    tf.int16: _INT32,
    tf.int32: _INT32,
    tf.uint8: _INT32,
    tf.int64: _INT64,
    tf.uint32: _UINT32,
    tf.uint64: _UINT64,
}
_DECIMALS = {tf.float32: np.float32, tf.float64: np.float64}
_MAX_RANK = 32  # of NumPy 1


def read_array(value: Any, dtype: tf.DType) -> Any:
    """The tensor of a value.

    Raises:
        StatusError: It is ragged, or holds something that is not of `dtype`.
    """
    fast = plain_array(value, dtype)
    if fast is not None:
        return fast
    shape = _shape(value)
    return _filled(list(_leaves(value, shape, dtype)), shape, dtype)


class Column:
    """Rows of one input, each read exactly, all of one shape."""

    def __init__(self, dtype: tf.DType) -> None:
        self._dtype = dtype
        self._shape: list[int] | None = None
        self._size = 0
        self._values: list[Any] = []
        self._rows = 0

    def add(self, value: Any) -> None:
        """Append one row.

        Raises:
            StatusError: It is not of the type, or not of the shape of those before.
        """
        shape = _shape(value)
        leaves = list(_leaves(value, shape, self._dtype))
        if self._shape is None:
            self._shape, self._size = shape, len(leaves)
        elif self._size != len(leaves):
            raise invalid_argument(f"Expecting tensor size: {self._size} but got: {len(leaves)}")
        elif self._shape != shape:
            raise invalid_argument(f"Expecting shape {_shape_text(self._shape)} but got: {_shape_text(shape)}")
        self._values.extend(leaves)
        self._rows += 1

    def array(self) -> Any:
        """All rows in one tensor."""
        return _filled(self._values, [self._rows, *(self._shape or [])], self._dtype)


def plain_array(value: Any, dtype: tf.DType) -> Any | None:
    """The array of a rectangular nest of lists of plain numbers; None where the exact way has to look."""
    shape: list[int] = []
    level: list[Any] = [value]
    while (kinds := set(map(type, level))) == {list}:
        sizes = set(map(len, level))
        if len(sizes) != 1 or len(shape) == _MAX_RANK:
            return None
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    if dtype in _DECIMALS and kinds and kinds <= {int, float}:
        return _filled(level, shape, dtype)
    if dtype in _INT_RANGES and kinds == {int}:
        lowest, highest = _INT_RANGES[dtype]
        if lowest <= min(level) and max(level) <= highest:
            return _filled(level, shape, dtype)
    return None


def is_object(value: Any) -> bool:
    """Whether a value is an object with named members, and not `{"b64": ...}`."""
    return isinstance(value, dict) and not is_base64(value)


def nearest(doubles: Any, kind: Any) -> Any:
    """The numbers of a NumPy type nearest to `doubles`; infinite beyond its range.

    So has TensorFlow Serving taken them since 2.5 (util/json_tensor.cc, commit 57dac6cd).
    """
    with np.errstate(over="ignore"):
        return doubles.astype(kind, copy=False)


def _filled(values: list[Any], shape: list[int], dtype: tf.DType) -> Any:
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    if dtype in _DECIMALS:
        return nearest(np.array(values, np.float64), _DECIMALS[dtype]).reshape(shape)
    if dtype in _INT_RANGES and dtype.size < 4:  # TensorFlow Serving lets them wrap
        return np.array(values, np.int64).astype(dtype.as_numpy_dtype).reshape(shape)
    return np.array(values, dtype.as_numpy_dtype).reshape(shape)


def _shape(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"lists are nested {len(shape)} deep; at most {_MAX_RANK} levels are supported")
    return shape


def _leaves(value: Any, shape: Sequence[int], dtype: tf.DType, level: int = 0) -> Iterator[Any]:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid_argument(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        yield _leaf(value, dtype)
        return
    if level >= rank:
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _leaves(item, shape, dtype, level + 1)


def _leaf(value: Any, dtype: tf.DType) -> Any:
    if isinstance(value, dict):
        if dtype != tf.string:
            raise _type_error(value, dtype)
        return decoded_base64(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _DECIMALS:
        if not is_number:
            raise _type_error(value, dtype)
        return value
    if dtype in _INT_RANGES:
        lowest, highest = _INT_RANGES[dtype]
        if not is_number or isinstance(value, float) or not lowest <= value <= highest:
            raise _type_error(value, dtype)
        return value
    if dtype == tf.string:
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode(errors="surrogatepass")
    if dtype == tf.bool:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {type_text(dtype)}")


def decoded_base64(value: dict[str, Any]) -> bytes:
    """The bytes of `{"b64": ...}`.

    Raises:
        StatusError: The value is of another form, or its text is not base64.
    """
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    try:
        text = value["b64"].strip()
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}` and nothing more."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _type_error(value: Any, dtype: tf.DType) -> StatusError:
    return invalid_argument(
        f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: {type_text(dtype)}"
    )


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
