"""The JSON of a predict answer: rows or columns, numbers and strings as TensorFlow Serving writes them."""

import base64
import math
from typing import Any

import numpy as np

from trainwright_components.model_server.rest.json_numbers import decimal_texts, nested_text
from trainwright_components.model_server.rest.json_values import quoted
from trainwright_components.model_server.servable import Tensors
from trainwright_components.model_server.status import invalid_argument

_BYTES_SUFFIX = "_bytes"


def write_predict(outputs: Tensors, *, is_row: bool) -> str:
    """The JSON answer: `predictions` (rows) or `outputs` (columns).

    Raises:
        StatusError: Rows are wanted and the outputs do not have the same number of them, or a type has no JSON form.
    """
    if not is_row:
        if len(outputs) == 1:
            ((alias, value),) = outputs.items()
            return f'{{\n    "outputs": {_array_text(alias, value)}\n}}'
        members = (f"{quoted(alias)}: {_array_text(alias, value)}" for alias, value in sorted(outputs.items()))
        return '{\n    "outputs": {\n        ' + ",\n        ".join(members) + "\n    }\n}"
    _check_rows(outputs)
    if len(outputs) == 1:
        ((alias, value),) = outputs.items()
        return f'{{\n    "predictions": {_array_text(alias, value)}\n}}'
    columns = {alias: _element_texts(alias, value) for alias, value in sorted(outputs.items())}
    rows = (
        "{\n            "
        + ",\n            ".join(f"{quoted(alias)}: {text}" for alias, text in zip(columns, row, strict=True))
        + "\n        }"
        for row in zip(*columns.values(), strict=True)
    )
    return '{\n    "predictions": [' + ", ".join(rows) + "\n    ]\n}"


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
    fast = nested_text(value)
    if fast is not None:
        return fast
    return "[" + ", ".join(_element_texts(alias, value)) + "]"


def _element_texts(alias: str, value: Any) -> list[str]:
    """One JSON text per element along the first dimension."""
    texts = _leaf_texts(alias, value.ravel())
    for axis in range(value.ndim - 1, 0, -1):
        size, count = value.shape[axis], math.prod(value.shape[:axis])
        texts = ["[" + ", ".join(texts[i * size : (i + 1) * size]) + "]" for i in range(count)]
    return texts


def _leaf_texts(alias: str, flat: Any) -> list[str]:
    kind = flat.dtype.kind
    if flat.dtype in (np.float32, np.float64):
        return decimal_texts(flat)
    if kind == "b":
        return ["true" if item else "false" for item in flat.tolist()]
    if kind in "iu":
        return [str(item) for item in flat.tolist()]
    if kind in "OSU":
        return [_string_text(alias, item) for item in flat.tolist()]
    raise invalid_argument(f"Failed to write JSON value for tensor type: {flat.dtype}")


def _string_text(alias: str, item: bytes | str) -> str:
    raw = item.encode() if isinstance(item, str) else item
    if alias.endswith(_BYTES_SUFFIX):
        return '{"b64": "' + base64.b64encode(raw).decode() + '"}'
    return quoted(raw.decode(errors="replace"))
