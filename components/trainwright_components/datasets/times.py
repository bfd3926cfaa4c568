"""The column of times of a table as numbers that grow with it."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, NotANumber, as_numbers, as_text, is_missing
from trainwright_components.errors import InvalidData


def read_times(chunk: Chunk, column: str) -> NDArray[np.float64]:
    """Numbers as they are, ISO 8601 times as nanoseconds since 1970.

    Raises:
        InvalidData: A value is missing, or is neither.
    """
    values = chunk.column(column)
    missing = is_missing(values)
    if missing.any():
        place = chunk.place(int(missing.argmax()))
        raise InvalidData(f"{place}: data.time_column {column!r} has no value; fill it in or remove the row")
    try:
        return as_numbers(values).astype(np.float64)
    except NotANumber:
        moments = pd.to_datetime(pd.Series(as_text(values)), format="ISO8601", utc=True, errors="coerce")
    if moments.isna().any():
        row = int(np.asarray(moments.isna()).argmax())
        raise InvalidData(
            f"{chunk.place(row)}: data.time_column {column!r} must hold numbers or ISO 8601 times such as "
            f"2026-01-31 12:00, got {values[row]!r}"
        )
    return np.asarray(moments.astype("datetime64[ns, UTC]").astype(np.int64), np.float64)
