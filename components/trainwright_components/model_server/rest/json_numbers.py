"""Arrays of numbers as JSON text: by a compiled writer wherever it writes what TensorFlow Serving does."""

from typing import Any

import numpy as np
import orjson

from trainwright_components.model_server.rest.json_values import decimal_text

# Between these, the shortest text has no exponent, and both writers agree on it.
_LEAST, _MOST = 1e-4, 1e6


def nested_text(array: Any) -> str | None:
    """The nest of lists of an array of decimals or integers; None where a number needs care."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize < 4 or not array.flags.c_contiguous or not array.size:
        return None
    if array.dtype.kind == "f" and not _are_plain(array) and _odd(array).any():
        return None
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).replace(b",", b", ").decode()


def decimal_texts(flat: Any) -> list[str]:
    """One text for each number of a vector of float32 or float64."""
    if not flat.size:
        return []
    texts = orjson.dumps(np.ascontiguousarray(flat), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    for index in np.flatnonzero(_odd(flat)).tolist():
        texts[index] = decimal_text(flat[index], flat.dtype.type)
    return texts


def _are_plain(array: Any) -> bool:
    """Whether all numbers are within the limits, which is known sooner than which of them are not."""
    size = np.abs(array)
    return bool(np.minimum.reduce(size, None) >= _LEAST and np.maximum.reduce(size, None) < _MOST)


def _odd(array: Any) -> Any:
    """Which numbers are neither zero nor within the limits; not-a-number is not either."""
    size = np.abs(array)
    return ~(((size >= _LEAST) & (size < _MOST)) | (size == 0))
