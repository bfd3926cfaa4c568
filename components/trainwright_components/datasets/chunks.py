"""Rows on their way from a source into a dataset: some at a time, column by column."""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CHUNK_ROWS = 4_096
CHUNK_BYTES = 4 << 20
MISSING_TEXTS = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?"})
_CODE = re.compile(r"\n0\d")

Column = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a source.

    Args:
        columns: Each `(rows, ...)`: numbers (NaN is missing), or objects that are str, bytes or None (missing).
        origin: The file that the rows come from, for messages.
        first_row: The number of the first row in that file; rows count from 1, without a header.
        split: The split that the source itself puts these rows in; empty when it does not say.
        keeps_integers: Whether integers are stored as such and not as floats.
        kept: Where these rows were among those read, from 0, when others of them were dropped.
        numbers: The numbers, float64, of columns of text whose values are known to be numbers and not codes like 007.
        texts: Columns of text as `pyarrow.StringArray`, where the source has them so: whoever can do without an object
            for each value takes these.
        row_count: How many rows these are, where columns are made when they are asked for.
    """

    columns: Mapping[str, Column]
    origin: str
    first_row: int = 1
    split: str = ""
    keeps_integers: bool = False
    kept: NDArray[np.intp] | None = None
    numbers: Mapping[str, Column] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)
    row_count: int | None = None

    @property
    def rows(self) -> int:
        """How many rows these are."""
        if self.row_count is not None:
            return self.row_count
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def taking(self, rows: slice | NDArray[np.intp]) -> "Chunk":
        """The values of these `rows` alone; what numbers them stays for the caller to say."""
        return replace(
            self,
            columns={name: column[rows] for name, column in self.columns.items()},
            numbers={name: column[rows] for name, column in self.numbers.items()},
            texts={},
            row_count=None,
        )

    def with_columns(self, made: Mapping[str, Column]) -> "Chunk":
        """These rows with the columns `made`; the others are still made only when they are asked for."""
        columns = ChainMap(dict(made), self.columns)  # type: ignore[arg-type]  # nobody writes to it
        texts = {name: values for name, values in self.texts.items() if name not in made}
        return replace(self, columns=columns, texts=texts, row_count=self.rows)

    def place(self, row: int) -> str:
        """Where the row with the index `row` is, for messages."""
        return f"{self.origin}, row {self.row_numbers[row]}"

    @property
    def row_numbers(self) -> Sequence[int]:
        """The number of each row in its file."""
        if self.kept is None:
            return range(self.first_row, self.first_row + self.rows)
        numbers: list[int] = (self.first_row + self.kept).tolist()
        return numbers

    def column(self, name: str) -> Column:
        """The column `name`; all missing when these rows lack it, as JSON rows may."""
        return self.columns[name] if name in self.columns else np.full(self.rows, None, dtype=object)

    def values(self, name: str, rows: NDArray[np.intp]) -> Column:
        """The column `name` of these `rows` alone."""
        if name not in self.texts:
            return self.column(name)[rows]
        return np.asarray(self.texts[name].take(rows).to_numpy(zero_copy_only=False), dtype=object)


class Source(Protocol):
    """Rows that can be read again and again, in the same order."""

    @property
    def traits(self) -> "SourceTraits":
        """What is known before reading."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""


class FileFormat(Source, Protocol):
    """A source of files of one kind."""

    format_name: ClassVar[str]
    """As `data.format` says it."""
    file_names: ClassVar[re.Pattern[str]]
    """Names of files, in small letters, that are of this format."""

    def __init__(self, files: Sequence[str]) -> None:
        """`files` are read in their order.

        Raises:
            InvalidData: They are not what their names say.
        """


@dataclass(frozen=True, kw_only=True)
class SourceTraits:
    """What a source says about itself before it is read.

    Args:
        name: What people call it.
        columns: Their names; empty when only reading tells.
        is_split: Whether the chunks say their split.
        size_bytes: Of its files, to choose the number of shards and to show progress; 0 when unknown.
        default_label: The label when nobody names one.
        identifiers: Columns that name rows and are not features, such as the path of an image.
        kinds: The kinds of columns that cannot be told from the values.
        files: The TFRecord files, where a dataset may refer to them instead of copying.
        read_from: The files that hold all rows, where a change of one is to be noticed.
        reading: How text files are read, for `Schema.reading`.
    """

    name: str
    columns: tuple[str, ...] = ()
    is_split: bool = False
    size_bytes: int = 0
    default_label: str = ""
    identifiers: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    read_from: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)


def is_missing(column: Column) -> NDArray[np.bool_]:
    """Which rows of `column` have no value: `(rows,)`."""
    if column.dtype == object:
        values = column.tolist()
        if None not in values and "" not in values:  # nearly always, and found without a step for each
            return np.zeros(len(values), bool)
        return np.array([value is None or value == "" for value in values], bool)
    if not np.issubdtype(column.dtype, np.floating) or not column.size:
        return np.zeros(len(column), bool)
    return np.asarray(np.isnan(column.reshape(len(column), -1)).all(axis=1))


class NotANumber(ValueError):
    """A value that is not a number; `row` is its index."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def as_numbers(column: Column) -> NDArray[np.floating[Any]]:
    """`column` as float64, or float32 if it is that already; NaN where missing.

    Raises:
        NotANumber: A value is none.
    """
    if column.dtype != object:
        return column if column.dtype == np.float32 else column.astype(np.float64)
    numbers = np.asarray(pd.to_numeric(pd.Series(column, dtype=object), errors="coerce"), np.float64)
    unread = np.flatnonzero(np.isnan(numbers))
    wrong = unread[~is_missing(column[unread])]
    if len(wrong):
        raise NotANumber(int(wrong[0]))
    return numbers


def holds_bytes(column: Column) -> bool:
    """Whether the values are bytes and not text; the first one tells."""
    if column.dtype != object:
        return False
    return isinstance(next((value for value in column if value is not None), None), bytes)


def first_code(column: Column) -> int | None:
    """The first row with a number that is written as a code, with leading zeros as in 007; None when there is none."""
    if column.dtype != object or not _CODE.search("\n" + "\n".join([value or "" for value in column.tolist()])):
        return None
    return next((row for row, value in enumerate(column.tolist()) if value and _CODE.match("\n" + value)), None)


def as_text(column: Column) -> list[str]:
    """Scalars as the text that names a class or a category: `7`, not `7.0`; missing numbers as the empty string."""
    if column.dtype == object:
        values: list[Any] = column.tolist()
        return values if {*map(type, values)} <= {str} else [_decoded(value) for value in values]
    if column.dtype == bool:
        return ["true" if value else "false" for value in column.tolist()]
    return [number_text(value) for value in column.tolist()]


def object_column(values: list[Any]) -> Column:
    """`values` as a column of objects, whatever they are: NumPy would make arrays of sequences."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def number_text(value: float | int) -> str:
    """`7` for 7.0, `7.5` for 7.5 and nothing for NaN."""
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def scalar_text(value: str | float | bool) -> str:
    """A value as it stands among texts: `7` for 7.0, `true` for True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value)


def _decoded(value: str | bytes | None) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
