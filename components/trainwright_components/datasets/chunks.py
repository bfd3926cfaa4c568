"""Rows on their way from a source into a dataset: some at a time, column by column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CHUNK_ROWS = 4_096
CHUNK_BYTES = 16 << 20
MISSING_TEXTS = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"})

Column = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a source.

    Args:
        columns: Each `(rows, ...)`: numbers (NaN is missing), or objects that are str, bytes or None (missing).
        origin: The file that the rows come from, for messages.
        first_row: The number of the first row in that file; rows count from 1, without a header.
        split: The split that the source itself puts these rows in; empty when it does not say.
        is_typed: False when texts may stand for numbers, as in CSV.
        keeps_integers: Whether whole numbers are stored as such and not as floats.
    """

    columns: Mapping[str, Column]
    origin: str
    first_row: int = 1
    split: str = ""
    is_typed: bool = True
    keeps_integers: bool = False

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def place(self, row: int) -> str:
        """Where the row with the index `row` is, for messages."""
        return f"{self.origin}, row {self.first_row + row}"

    def column(self, name: str) -> Column:
        """The column `name`; all missing when these rows lack it, as JSON rows may."""
        return self.columns[name] if name in self.columns else np.full(self.rows, None, dtype=object)


class Source(Protocol):
    """Rows that can be read again and again, in the same order."""

    @property
    def traits(self) -> "SourceTraits":
        """What is known before reading."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""


@dataclass(frozen=True, kw_only=True)
class SourceTraits:
    """What a source says about itself before it is read.

    Args:
        name: What people call it.
        columns: Their names; empty when only reading tells.
        is_split: Whether the chunks say their split.
        size_bytes: Of its files, to choose the number of shards and to show progress; 0 when unknown.
        default_label: The label when nobody names one.
        identifiers: Columns that name rows and are no features, such as the path of an image.
        kinds: The kinds of columns that cannot be told from the values.
        files: The TFRecord files, where a dataset may refer to them instead of copying.
    """

    name: str
    columns: tuple[str, ...] = ()
    is_split: bool = False
    size_bytes: int = 0
    default_label: str = ""
    identifiers: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def is_missing(column: Column, *, is_typed: bool) -> NDArray[np.bool_]:
    """Which rows of `column` have no value: `(rows,)`."""
    if column.dtype == object:
        if is_typed:
            return np.fromiter((value is None or value == "" for value in column.tolist()), bool, len(column))
        return np.fromiter((value is None or value in MISSING_TEXTS for value in column.tolist()), bool, len(column))
    if not np.issubdtype(column.dtype, np.floating) or not column.size:
        return np.zeros(len(column), bool)
    return np.asarray(np.isnan(column.reshape(len(column), -1)).all(axis=1))


class NotANumber(ValueError):
    """A value that is no number; `row` is its index."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def as_numbers(column: Column, *, is_typed: bool) -> NDArray[np.float64]:
    """`column` as float64, NaN where missing. Codes with leading zeros, such as 007, are no numbers.

    Raises:
        NotANumber: A value is none.
    """
    if column.dtype != object:
        return column.astype(np.float64)
    missing = is_missing(column, is_typed=is_typed)
    texts = [None if absent else value for value, absent in zip(column.tolist(), missing.tolist(), strict=True)]
    numbers = np.asarray(pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce"), np.float64)
    wrong = np.isnan(numbers) & ~missing
    if not wrong.any():
        wrong = np.fromiter((text is not None and _is_code(text) for text in texts), bool, len(texts))
    if wrong.any():
        raise NotANumber(int(wrong.argmax()))
    return numbers


def _is_code(text: str | bytes) -> bool:
    return isinstance(text, str) and len(text) > 1 and text[0] == "0" and text[1].isdigit()


def as_text(column: Column) -> list[str]:
    """Scalars as the text that names a class or a category: `7`, not `7.0`; missing numbers as the empty string."""
    if column.dtype == object:
        return ["" if value is None else _decoded(value) for value in column.tolist()]
    if column.dtype == bool:
        return ["true" if value else "false" for value in column.tolist()]
    return [number_text(value) for value in column.tolist()]


def number_text(value: float | int) -> str:
    """`7` for 7.0, `7.5` for 7.5 and nothing for NaN."""
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _decoded(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")
