"""The column of times of a table as numbers that grow with it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import (
    Chunk,
    Column,
    NotANumber,
    Source,
    SourceTraits,
    as_numbers,
    as_text,
    is_missing,
    object_column,
)
from trainwright_components.datasets.dates import as_iso, is_open, tells_day_first
from trainwright_components.errors import InvalidData

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class IsoTimes:
    """The rows of `source`, whose dates in `column` are written as ISO 8601 writes them; what is no date stays."""

    source: Source
    column: str
    day_first: bool

    @property
    def traits(self) -> SourceTraits:
        """Those of the source."""
        return self.source.traits

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""
        for chunk in self.source.chunks():
            column = chunk.column(self.column)
            yield chunk if column.dtype != object else chunk.with_columns({self.column: self._written(column)})

    def _written(self, column: Column) -> Column:
        texts = as_text(column)
        known = {text: as_iso(text.strip(), day_first=self.day_first) for text in set(texts)}
        return object_column([known[text] or None for text in texts])


def with_iso_times(source: Source, column: str, day_first: str) -> tuple[Source, str]:
    """`source` with times that `read_times` reads, and whether its dates begin with the day: yes, no, or empty.

    It is empty where the times are numbers or of ISO 8601 already.

    Args:
        source: Rows that can be read again.
        column: Of the times.
        day_first: What a person says about it: `auto`, yes or no; what `auto` stands for is looked for in the rows.

    Raises:
        InvalidData: No row tells whether the dates begin with the day.
    """
    if day_first == "auto":
        day_first = _find_day_first(source, column)
    if not day_first:
        return source, ""
    return IsoTimes(source=source, column=column, day_first=day_first == "yes"), day_first


def _find_day_first(source: Source, column: str) -> str:
    first_open = ""
    for chunk in source.chunks():
        values = chunk.column(column)
        if values.dtype != object or column in chunk.numbers:
            return ""
        texts = [text.strip() for text in as_text(values)]
        asked = dict.fromkeys(filter(is_open, texts))
        if not asked and not first_open:
            return "yes" if any(as_iso(text, day_first=True) != text for text in texts) else ""
        first_open = first_open or chunk.place(texts.index(next(iter(asked))))
        example = next((text for text in asked if tells_day_first([text]) is not None), "")
        if example:
            is_day = bool(tells_day_first([example]))
            _log.info("column %r: dates begin with the %s, as %s shows", column, "day" if is_day else "month", example)
            return "yes" if is_day else "no"
    if not first_open:
        return ""
    raise InvalidData(
        f"{first_open}: the dates of data.time_column {column!r} begin with the day or with the month, and no row "
        "tells; say data.day_first=yes or data.day_first=no"
    )


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
            f"{chunk.place(row)}: data.time_column {column!r} must hold numbers, or dates written alike, such as "
            f"2026-01-31 12:00 or 31/01/2026 12:00, got {values[row]!r}"
        )
    return np.asarray(moments.astype("datetime64[ns, UTC]").astype(np.int64), np.float64)


_: type[Source] = IsoTimes
