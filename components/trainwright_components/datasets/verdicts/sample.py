"""Some rows of a stream, in memory that does not grow with it: a uniform sample, and counts of rows that are alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, as_text, holds_bytes, object_column

SAMPLE_ROWS = 8_192
SAMPLE_CELLS = 1_000_000
DIFFERENT_ROWS = 16_384
_FEWEST_ROWS = 512
_COUNTED = np.dtype([("features", np.float64), ("label", np.uint64), ("count", np.int64)])


class RowSample:
    """A uniform random sample of whole rows, the same for the same stream; all of them while they fit.

    It has `SAMPLE_ROWS` rows, fewer of many columns, so that it has `SAMPLE_CELLS` values. Arrays and bytes are left
    out.

    Attributes:
        seen: How many rows came by.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._size = 0
        self._keys = np.empty(0, np.float64)
        self._rows = np.empty(0, np.int64)
        self._parts: dict[str, list[Column]] = {}
        self._limit = np.inf
        self._random = np.random.default_rng(0)

    def add(self, chunk: Chunk) -> None:
        """Take more of the stream."""
        if not self.seen:
            self._size = min(SAMPLE_ROWS, max(_FEWEST_ROWS, SAMPLE_CELLS // max(1, len(chunk.columns))))
        keys = self._random.random(chunk.rows)
        chosen = np.flatnonzero(keys < self._limit)
        for name in chunk.columns:
            if name not in self._parts and (name in chunk.texts or _is_single(chunk.columns[name])):
                self._parts[name] = [np.full(len(self._keys), None, dtype=object)] if len(self._keys) else []
        for name, parts in self._parts.items():
            parts.append(chunk.values(name, chosen))
        self._rows = np.concatenate([self._rows, np.asarray(chunk.row_numbers, np.int64)[chosen]])
        self._keys = np.concatenate([self._keys, keys[chosen]])
        self.seen += chunk.rows
        if len(self._keys) > 2 * self._size:
            self._reduce()

    def result(self) -> tuple[NDArray[np.int64], Mapping[str, Column]]:
        """The numbers of the rows in their files, and their columns; in the order of the stream."""
        self._reduce()
        return self._rows, {name: _joined(parts) for name, parts in self._parts.items()}

    def _reduce(self) -> None:
        kept = np.arange(len(self._keys))
        if len(self._keys) > self._size:
            kept = np.sort(np.argpartition(self._keys, self._size)[: self._size])
            self._limit = float(self._keys[kept].max())
        self._keys, self._rows = self._keys[kept], self._rows[kept]
        self._parts = {name: [_joined(parts)[kept]] if parts else [] for name, parts in self._parts.items()}


@dataclass(frozen=True, kw_only=True)
class EqualRowCounts:
    """How many rows are alike.

    Args:
        rows: How many were counted.
        repeated: Those with the features of an earlier one.
        conflicting: Those whose label is not the most frequent one among the rows of equal features.
        is_exact: Whether all rows were counted; else the shares are those of a sample.
    """

    rows: int
    repeated: int
    conflicting: int
    is_exact: bool


class EqualRows:
    """Counts rows that are alike in a sample that has all copies of a row or none: those with the lowest numbers.

    Args:
        label: The column that is compared apart; empty for none.
        limit: How many different rows are held.
    """

    def __init__(self, *, label: str = "", limit: int = DIFFERENT_ROWS) -> None:
        self._label, self._limit = label, limit
        self._below = 1.0
        self._found = np.zeros(0, _COUNTED)
        self._waiting: list[NDArray[np.void]] = []

    def add(self, chunk: Chunk, numbers: NDArray[np.float64]) -> None:
        """Take more of the stream: equal features have equal `numbers`, spread evenly over [0, 1)."""
        chosen = np.flatnonzero(numbers < self._below)
        found = np.zeros(len(chosen), _COUNTED)
        found["features"], found["count"] = numbers[chosen], 1
        if self._label and len(chosen):
            found["label"] = _hashed(chunk.values(self._label, chosen))
        self._waiting.append(found)
        if sum(map(len, self._waiting)) > self._limit:
            self._reduce()

    def result(self) -> EqualRowCounts:
        """The counts so far."""
        self._reduce()
        rows = int(self._found["count"].sum())
        _, places = np.unique(self._found["features"], return_inverse=True)
        most = np.zeros(places.max(initial=-1) + 1, np.int64)
        np.maximum.at(most, places, self._found["count"])
        return EqualRowCounts(
            rows=rows,
            repeated=rows - len(most),
            conflicting=rows - int(most.sum()) if self._label else 0,
            is_exact=self._below == 1,
        )

    def _reduce(self) -> None:
        found = np.concatenate([self._found, *self._waiting])
        self._waiting = []
        if not len(found):
            return
        found = found[np.lexsort((found["label"], found["features"]))]
        is_new = (found["features"][1:] != found["features"][:-1]) | (found["label"][1:] != found["label"][:-1])
        starts = np.flatnonzero(np.append(True, is_new))
        self._found = found[starts]
        self._found["count"] = np.add.reduceat(found["count"], starts)
        while len(self._found) > self._limit and self._below > 2**-48:
            self._below /= 2
            self._found = self._found[self._found["features"] < self._below]


def _is_single(column: Column) -> bool:
    return column.ndim == 1 and not holds_bytes(column)


def _hashed(column: Column) -> NDArray[np.uint64]:
    if column.ndim > 1:
        column = object_column([row.tobytes() for row in column])
    return np.asarray(pd.util.hash_array(column, categorize=False), np.uint64)


def _joined(parts: list[Column]) -> Column:
    """The parts as one: as text where some are, since the numbers of JSON lines may turn out to be texts."""
    if len({part.dtype for part in parts}) > 1 and any(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else object_column(as_text(part)) for part in parts]
    return np.concatenate(parts)
