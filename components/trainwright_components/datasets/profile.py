"""Look at every row of a source once, in bounded memory, to learn what its columns hold."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import (
    Chunk,
    Column,
    NotANumber,
    as_numbers,
    as_text,
    first_code,
    holds_bytes,
    is_missing,
    number_text,
)
from trainwright_components.errors import InvalidData

DISTINCT_LIMIT = 10_000
_EXACT = 2**53  # the integers below are floats, each another one


class ColumnProfile:
    """What the values of one column have in common.

    Attributes:
        values: How often each value occurs, as text; None once there are more than `DISTINCT_LIMIT`.
        not_a_number: The place and the text of the first value that is not a number; empty when all are.
        shape: Of one row; None before the first value.
        stored_dtype: Of the integers or booleans that are kept as such; None before the first value.
    """

    def __init__(self) -> None:
        self.rows = self.missing = 0
        self.values: Counter[str] | None = Counter()
        self.not_a_number: tuple[str, str] | None = None
        self.first_missing = self.first_infinite = ""
        self.shape: tuple[int, ...] | None = None
        self.is_whole = self.is_bool = self.is_stored_whole = True
        self.is_bytes = False
        self.stored_dtype: np.dtype[Any] | None = None
        self.min, self.max = np.inf, -np.inf
        self._lost_digits = False

    @property
    def is_numeric(self) -> bool:
        """Whether there are values and all are numbers."""
        return self.shape is not None and self.not_a_number is None and not self.is_bytes

    @property
    def loses_digits(self) -> bool:
        """Whether it holds integers, as long ids are, of which several would be one float."""
        return self._lost_digits or self._finds_lost_digits()

    def _finds_lost_digits(self) -> bool:
        if not self.is_numeric or not self.is_whole or not self.values or max(-self.min, self.max) < _EXACT:
            return False
        return len({*map(float, self.values)}) < len(self.values)

    def add(self, chunk: Chunk, name: str) -> None:
        """Take the column `name` of more rows."""
        self.rows += chunk.rows
        known = chunk.numbers.get(name) if self.not_a_number is None else None
        if name in chunk.texts and (known is not None or self.not_a_number is not None):
            self._add_texts(chunk, name, known)
            return
        column = chunk.column(name) if known is None or self.values is not None else known
        numbers = self._try_numbers(chunk, column) if known is None else known
        if numbers is not None and column.dtype == object:
            missing: NDArray[np.bool_] = np.isnan(numbers)
        else:
            missing = is_missing(column)
        self._note_missing(chunk, missing)
        present = column[~missing]
        if not len(present):
            return
        self._check_shape(chunk, name, present.shape[1:])
        self.is_bool &= present.dtype == bool
        self.is_stored_whole &= chunk.keeps_integers and present.dtype.kind in "biu"
        if self.is_stored_whole:
            self.stored_dtype = np.promote_types(present.dtype, self.stored_dtype or present.dtype)
        if numbers is not None:
            self._measure(chunk, numbers)
        self._count(present)

    def _add_texts(self, chunk: Chunk, name: str, numbers: NDArray[np.floating[Any]] | None) -> None:
        """Take texts without an object for each: it is known whether they are numbers."""
        import pyarrow.compute as pc

        missing = pc.binary_length(chunk.texts[name]).to_numpy() == 0
        self._note_missing(chunk, missing)
        if missing.all():
            return
        self._check_shape(chunk, name, ())
        self.is_bool = self.is_stored_whole = False
        if numbers is not None:
            self._measure(chunk, numbers)
        if self.values is not None:
            counted = chunk.texts[name].value_counts().flatten()
            values, counts = (each.to_numpy(zero_copy_only=False).tolist() for each in counted)
            for value, count in zip(values, counts, strict=True):
                if value:
                    self.values[value] += count
            self._stop_counting_many()

    def _note_missing(self, chunk: Chunk, missing: NDArray[np.bool_]) -> None:
        if missing.any():
            self.missing += int(missing.sum())
            self.first_missing = self.first_missing or chunk.place(int(missing.argmax()))

    def add_absent(self, rows: int) -> None:
        """Take rows that lack this column altogether."""
        self.rows += rows
        self.missing += rows
        self.first_missing = self.first_missing or "the first row"

    def _check_shape(self, chunk: Chunk, name: str, shape: tuple[int, ...]) -> None:
        if self.shape is None:
            self.shape = shape
        elif self.shape != shape:
            raise InvalidData(
                f"{chunk.origin}, from row {chunk.first_row}: column {name!r} has the shape {shape} per row where "
                f"{self.shape} is expected; give every row the same"
            )

    def _try_numbers(self, chunk: Chunk, column: Column) -> NDArray[np.floating[Any]] | None:
        if self.not_a_number is not None or self.is_bytes:
            return None
        if holds_bytes(column):
            self.is_bytes, self.values = True, None
            return None
        try:
            numbers = as_numbers(column)
            row = first_code(column)
        except NotANumber as error:
            row = error.row
        if row is None:
            return numbers
        self.not_a_number = (chunk.place(row), str(column[row]))
        self.is_whole = self.is_bool = False
        return None

    def _measure(self, chunk: Chunk, numbers: NDArray[np.floating[Any]]) -> None:
        infinite = np.isinf(numbers)
        if infinite.any():
            row = int(infinite.reshape(len(numbers), -1).any(axis=1).argmax())
            self.first_infinite = self.first_infinite or chunk.place(row)
        known = numbers[np.isfinite(numbers)]
        if known.size:
            self.is_whole &= bool((known == np.floor(known)).all())
            self.min, self.max = min(self.min, float(known.min())), max(self.max, float(known.max()))

    def _count(self, present: Column) -> None:
        if self.values is None:
            return
        if present.ndim > 1:
            self.values = None
        elif present.dtype == object or present.dtype == bool:
            self.values.update(as_text(present))
        else:
            distinct, counts = np.unique(present, return_counts=True)
            for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                self.values[number_text(value)] += count
        self._stop_counting_many()

    def _stop_counting_many(self) -> None:
        if self.values is not None and len(self.values) > DISTINCT_LIMIT:
            self._lost_digits, self.values = self.loses_digits, None


class TableProfile:
    """The columns of a source, in the order in which they appear."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, ColumnProfile] = {}

    def add(self, chunk: Chunk) -> None:
        """Take more rows."""
        for name in chunk.columns:
            if name not in self.columns:
                self.columns[name] = ColumnProfile()
                if self.rows:
                    self.columns[name].add_absent(self.rows)
        for name, column in self.columns.items():
            column.add(chunk, name)
        self.rows += chunk.rows


def profile_chunks(chunks: Iterable[Chunk], *, max_rows: int | None = None) -> TableProfile:
    """The profile of all rows, or of about the first `max_rows`."""
    profile = TableProfile()
    for chunk in chunks:
        profile.add(chunk)
        if max_rows is not None and profile.rows >= max_rows:
            break
    return profile
