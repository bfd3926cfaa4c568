"""JSON values in words and numbers as TensorFlow Serving writes them, in answers and in messages."""

import json
import math
from typing import Any

import numpy as np
import tensorflow as tf

_SHOWN_BYTES = 256
_EXPONENT_FROM = {np.float32: 1e9, np.float64: 1e17}
_INTEGERS_FROM = 1 << 23  # of float32; the shortest text of such an integer may end in zeros in place of its digits


def shown(value: Any) -> str:
    """The value as messages quote it, cut to 256 bytes."""
    if isinstance(value, float):
        return decimal_text(value, np.float64)
    try:
        text = json.dumps(value, ensure_ascii=False, indent=4 if isinstance(value, dict) else None)
    except RecursionError:
        return "..."
    raw = text.encode(errors="replace")
    return text if len(raw) <= _SHOWN_BYTES else raw[:_SHOWN_BYTES].decode(errors="ignore") + "..."


def json_type(value: Any) -> str:
    """The value's type as messages name it."""
    if isinstance(value, bool):
        return str(value)
    if value is None:
        return "Null"
    names: dict[type, str] = {str: "String", list: "Array", dict: "Object"}
    return names.get(type(value), "Number")


def type_text(dtype: tf.DType) -> str:
    """A tensor type as messages name it."""
    names = {tf.float16: "half", tf.float32: "float", tf.float64: "double"}
    return names.get(dtype, str(dtype.name))


def decimal_text(number: Any, dtype: Any) -> str:
    """The shortest decimal that gives `number` back in `dtype`, always with a point or an exponent.

    Large float32 have all digits, as TensorFlow Serving writes them with `%.9g` (util/json_tensor.cc, WriteDecimal).
    """
    value = float(number)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    with np.errstate(over="ignore"):
        is_exact = dtype(text) == dtype(value)
    if not is_exact and dtype is np.float32 and abs(value) >= _INTEGERS_FROM:
        text = f"{value:.9g}"
    elif not is_exact and abs(value) < _EXPONENT_FROM[dtype]:
        text = str(np.format_float_positional(dtype(value), trim="0"))
    elif not is_exact:
        text = str(dtype(value))
    return text if "." in text or "e" in text else f"{text}.0"


def quoted(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)
