"""JSON to tensors and back, by TensorFlow Serving's rules and with its error texts.

Lists of plain numbers go through NumPy in one step. Whatever does not fit that way is read value by value, which knows
every rule and every message.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf

from trainwright_components.model_server.servable import Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_SHOWN_BYTES = 256
_BYTES_SUFFIX = "_bytes"
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
# The largest integer up to which every integer is exact in the type.
_EXACT_INTEGERS = {tf.float32: (1 << 24) - 1, tf.float64: (1 << 53) - 1}
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}


@dataclass(frozen=True, kw_only=True)
class PredictJson:
    """A predict request as parsed: still JSON, but of a known form."""

    signature_name: str
    is_row: bool
    values: Any


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a request body, whose top level must be an object; bytes after it are ignored.

    Raises:
        StatusError: The body is no such JSON.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        text = body.decode()
        document, _ = _DECODER.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        reason = _PARSE_ERRORS.get(error.msg, error.msg)
        raise invalid_argument(f"JSON Parse error: {reason} at offset: {error.pos}") from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # Python refuses integers of more than 4,300 digits
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; empty when it names none.

    Raises:
        StatusError: The name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_predict(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Make the input tensors of a predict request.

    Args:
        document: The request, `instances` (rows) or `inputs` (columns).
        inputs: TensorInfo by alias: what the signature takes.

    Returns:
        One array per alias, and whether the request came in rows.

    Raises:
        StatusError: The request does not fit.
    """
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    dtypes = {alias: tf.as_dtype(inputs[alias].dtype) for alias in sorted(inputs)}
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid_argument(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid_argument(f"JSON Value: {_shown(document)} No values in 'instances' array")
        return _tensors_of_rows(rows, dtypes), True
    if "inputs" in document:
        return _tensors_of_columns(document["inputs"], dtypes), False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def write_predict(outputs: Tensors, *, is_row: bool) -> str:
    """The JSON answer: `predictions` (rows) or `outputs` (columns).

    Raises:
        StatusError: Rows are wanted and the outputs do not have the same number of them, or a type has no JSON form.
    """
    if not is_row:
        if len(outputs) == 1:
            ((alias, value),) = outputs.items()
            return f'{{\n    "outputs": {_array_text(alias, value)}\n}}'
        members = (f"{_quoted(alias)}: {_array_text(alias, value)}" for alias, value in sorted(outputs.items()))
        return '{\n    "outputs": {\n        ' + ",\n        ".join(members) + "\n    }\n}"
    _check_rows(outputs)
    if len(outputs) == 1:
        ((alias, value),) = outputs.items()
        return f'{{\n    "predictions": {_array_text(alias, value)}\n}}'
    columns = {alias: _element_texts(alias, value) for alias, value in sorted(outputs.items())}
    rows = (
        "{\n            "
        + ",\n            ".join(f"{_quoted(alias)}: {text}" for alias, text in zip(columns, row, strict=True))
        + "\n        }"
        for row in zip(*columns.values(), strict=True)
    )
    return '{\n    "predictions": [' + ", ".join(rows) + "\n    ]\n}"


def _first_of_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_duplicates)


def _tensors_of_rows(rows: list[Any], dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    if len(dtypes) > 1 and not isinstance(rows[0], dict):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not _is_object(rows[0]):
        ((alias, dtype),) = dtypes.items()
        fast = _plain_array(rows, dtype)
        return {alias: _exact_rows(rows, dtype) if fast is None else fast}
    if all(type(row) is dict and row.keys() == dtypes.keys() for row in rows):
        columns = {alias: _plain_array([row[alias] for row in rows], dtype) for alias, dtype in dtypes.items()}
        if all(column is not None for column in columns.values()):
            return columns
    return _exact_named_rows(rows, dtypes)


def _exact_rows(rows: list[Any], dtype: tf.DType) -> Any:
    collected = _Column(dtype)
    for index, row in enumerate(rows):
        if _is_object(row):
            raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
        try:
            collected.add(row)
        except StatusError as error:
            raise invalid_argument(f"Failed to process element: {index} of 'instances' list. Error: {error}") from error
    return collected.array()


def _exact_named_rows(rows: list[Any], dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    columns = {alias: _Column(dtype) for alias, dtype in dtypes.items()}
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise invalid_argument(f"Expecting object but got list at item {index} of input list")
        for key, value in row.items():
            try:
                if key not in columns:
                    raise invalid_argument(f"JSON object: does not have named input: {key}")
                columns[key].add(value)
            except StatusError as error:
                raise invalid_argument(
                    f"Failed to process element: {index} key: {key} of 'instances' list. Error: {error}"
                ) from error
        if row.keys() != columns.keys():
            raise invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(row)} "
                f"keys must be equal to: {','.join(sorted(columns))}"
            )
    return {alias: column.array() for alias, column in columns.items()}


def _tensors_of_columns(values: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, Any]:
    if not _is_object(values):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        ((alias, dtype),) = dtypes.items()
        return {alias: _array(values, dtype)}
    arrays = {}
    for alias, dtype in dtypes.items():
        if alias not in values:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = _array(values[alias], dtype)
    return arrays


class _Column:
    """Rows of one input, each read exactly, all of one shape."""

    def __init__(self, dtype: tf.DType) -> None:
        self._dtype = dtype
        self._shape: list[int] | None = None
        self._size = 0
        self._values: list[Any] = []
        self._rows = 0

    def add(self, value: Any) -> None:
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
        return _filled(self._values, [self._rows, *(self._shape or [])], self._dtype)


def _array(value: Any, dtype: tf.DType) -> Any:
    fast = _plain_array(value, dtype)
    if fast is not None:
        return fast
    shape = _shape(value)
    return _filled(list(_leaves(value, shape, dtype)), shape, dtype)


def _plain_array(value: Any, dtype: tf.DType) -> Any | None:
    """The array of a rectangular nest of lists of plain numbers; None where the exact way has to look."""
    shape: list[int] = []
    level: list[Any] = [value]
    while (kinds := set(map(type, level))) == {list}:
        sizes = set(map(len, level))
        if len(sizes) != 1:
            return None
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
    if dtype in _EXACT_INTEGERS and kinds and kinds <= {int, float}:
        wide = _as_doubles(level)
        if wide is None or (int in kinds and np.abs(wide[np.isfinite(wide)]).max(initial=0) > _EXACT_INTEGERS[dtype]):
            return None
        with np.errstate(over="ignore"):
            narrow = wide.astype(dtype.as_numpy_dtype)
        return narrow.reshape(shape) if np.array_equal(np.isinf(narrow), np.isinf(wide)) else None
    if dtype in _INT_RANGES and kinds == {int}:
        lowest, highest = _INT_RANGES[dtype]
        if lowest <= min(level) and max(level) <= highest:
            return _filled(level, shape, dtype)
    return None


def _as_doubles(level: list[Any]) -> Any | None:
    try:
        return np.array(level, np.float64)
    except OverflowError:
        return None


def _filled(values: list[Any], shape: list[int], dtype: tf.DType) -> Any:
    if dtype == tf.string:
        array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
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
    return shape


def _leaves(value: Any, shape: Sequence[int], dtype: tf.DType, level: int = 0) -> Iterator[Any]:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid_argument(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
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
        return _decoded(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _EXACT_INTEGERS:
        if not is_number:
            raise _type_error(value, dtype)
        return _decimal(value, dtype)
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
    raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {_shown(value)} to type: {_type_text(dtype)}")


def _decimal(value: float, dtype: tf.DType) -> float:
    is_integer = isinstance(value, int) and _INT64[0] <= value <= _UINT64[1]
    if is_integer:
        is_exact = abs(value) <= _EXACT_INTEGERS[dtype]
    elif isinstance(value, float) and not math.isfinite(value):
        return value
    else:
        is_exact = abs(value) <= dtype.max
    if not is_exact:
        raise invalid_argument(
            f"Cannot convert JSON value: {_shown(value)} to {_type_text(dtype)} without loss of precision."
        )
    return float(value)


def _decoded(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise invalid_argument(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        text = value["b64"].strip()
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _type_error(value: Any, dtype: tf.DType) -> StatusError:
    return invalid_argument(
        f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {_type_text(dtype)}"
    )


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = {str: "String", list: "Array", dict: "Object"}
    return names.get(type(value), "Number")


def _type_text(dtype: tf.DType) -> str:
    names = {tf.float32: "float", tf.float64: "double"}
    return names.get(dtype, str(dtype.name)) if dtype != tf.float16 else "DT_HALF"


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return _decimal_text(value, np.float64)
    try:
        text = json.dumps(value, ensure_ascii=False, indent=4 if isinstance(value, dict) else None)
    except RecursionError:
        return "..."
    raw = text.encode(errors="replace")
    return text if len(raw) <= _SHOWN_BYTES else raw[:_SHOWN_BYTES].decode(errors="ignore") + "..."


def _check_rows(outputs: Tensors) -> None:
    batch: int | None = None
    for alias, value in sorted(outputs.items()):
        if not np.ndim(value):
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        size = len(value)
        if batch is not None and batch != size:
            raise invalid_argument(f"Tensor name: {alias} has inconsistent batch size: {size} expecting: {batch}")
        batch = size


def _array_text(alias: str, value: Any) -> str:
    if not np.ndim(value):
        return _leaf_texts(alias, np.reshape(value, 1))[0]
    return "[" + ", ".join(_element_texts(alias, value)) + "]"


def _element_texts(alias: str, value: Any) -> list[str]:
    """One JSON text per element along the first dimension."""
    texts = _leaf_texts(alias, value.ravel())
    for size in reversed(value.shape[1:]):
        count = len(texts) // size if size else math.prod(value.shape) or len(value)
        texts = ["[" + ", ".join(texts[i * size : (i + 1) * size]) + "]" for i in range(count)]
    return texts


def _leaf_texts(alias: str, flat: Any) -> list[str]:
    kind = flat.dtype.kind
    if flat.dtype in (np.float32, np.float64):
        if np.isfinite(flat).all() and (np.abs(flat) < 1e6).all():
            return list(flat.astype("U32").tolist())
        return [_decimal_text(number, flat.dtype.type) for number in flat]
    if kind == "b":
        return ["true" if item else "false" for item in flat.tolist()]
    if kind in "iu":
        return [str(item) for item in flat.tolist()]
    if kind in "OSU":
        return [_string_text(alias, item) for item in flat.tolist()]
    raise StatusError(Code.UNIMPLEMENTED, f"Conversion of tensor: {alias} of type {flat.dtype} to JSON")


def _decimal_text(number: Any, dtype: Any) -> str:
    value = float(number)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    with np.errstate(over="ignore"):
        if dtype(text) != dtype(value):
            text = str(dtype(value))
    return text if "." in text or "e" in text else f"{text}.0"


def _string_text(alias: str, item: bytes | str) -> str:
    raw = item.encode() if isinstance(item, str) else item
    if alias.endswith(_BYTES_SUFFIX):
        return '{"b64": "' + base64.b64encode(raw).decode() + '"}'
    return _quoted(raw.decode(errors="replace"))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
