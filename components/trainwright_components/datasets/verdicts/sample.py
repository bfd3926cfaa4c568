"""Some rows of a stream, in memory that does not grow with it: a uniform sample, and counts of rows that are alike."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, as_text, holds_bytes, object_column

SAMPLE_ROWS = 8_192
SAMPLE_CELLS = 1_000_000
DIFFERENT_ROWS = 16_384
_FEWEST_ROWS = 512
_CHOOSING_COLUMNS = 3
_ALL = 1 << 64

Hashes = NDArray[np.uint64]


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
        for name, column in chunk.columns.items():
            if name not in self._parts and column.ndim == 1 and not holds_bytes(column):
                self._parts[name] = [np.full(len(self._keys), None, dtype=object)] if len(self._keys) else []
        for name, parts in self._parts.items():
            parts.append(chunk.column(name)[chosen])
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
    """Counts rows that are alike in a sample that has all copies of a row or none.

    A hash of the few columns with the most values chooses the rows: the lowest, as many as leave at most `limit`
    different ones. Only the rows that are chosen are hashed as a whole.

    Args:
        label: The column that is compared apart; empty for none.
        ignored: Columns that are not compared.
        limit: How many different rows are held; fewer of many columns, lest the hashes of small tables take long.
    """

    def __init__(self, *, label: str = "", ignored: Collection[str] = (), limit: int = DIFFERENT_ROWS) -> None:
        self._label, self._ignored, self._limit = label, {label, *ignored}, limit
        self._choosing: list[str] = []
        self._below = _ALL
        self._found = np.empty((0, 4), np.uint64)  # choosing hash, hash of the features, hash of the label, count
        self._waiting: list[NDArray[np.uint64]] = []

    def add(self, chunk: Chunk) -> None:
        """Take more of the stream."""
        names = sorted(name for name in chunk.columns if name not in self._ignored)
        if not chunk.rows or not names:
            return
        if not self._choosing:
            self._choosing = _most_different(chunk, names)
            self._limit = min(self._limit, max(_FEWEST_ROWS, SAMPLE_CELLS // len(names)))
        choosing = _hash_rows(chunk, self._choosing)
        chosen = np.flatnonzero(choosing <= np.uint64(self._below - 1))
        if not len(chosen):
            return
        part = chunk.taking(chosen)
        label = _hash_rows(part, [self._label]) if self._label else np.zeros(len(chosen), np.uint64)
        ones = np.ones(len(chosen), np.uint64)
        self._waiting.append(np.stack([choosing[chosen], _hash_rows(part, names), label, ones], axis=1))
        if sum(map(len, self._waiting)) > self._limit:
            self._reduce()

    def result(self) -> EqualRowCounts:
        """The counts so far."""
        self._reduce()
        _, features, _, counts = self._found.T
        rows = int(counts.sum())
        _, places = np.unique(features, return_inverse=True)
        most = np.zeros(places.max(initial=-1) + 1, np.uint64)
        np.maximum.at(most, places, counts)
        return EqualRowCounts(
            rows=rows,
            repeated=rows - len(most),
            conflicting=rows - int(most.sum()) if self._label else 0,
            is_exact=self._below == _ALL,
        )

    def _reduce(self) -> None:
        found = np.concatenate([self._found, *self._waiting])
        self._waiting = []
        if not len(found):
            return
        found = found[np.lexsort((found[:, 2], found[:, 1]))]
        starts = np.flatnonzero(np.append(True, (found[1:, 1:3] != found[:-1, 1:3]).any(axis=1)))
        counts = np.add.reduceat(found[:, 3], starts)
        self._found = found[starts]
        self._found[:, 3] = counts
        while len(self._found) > self._limit and self._below > 1:
            self._below //= 2
            self._found = self._found[self._found[:, 0] <= np.uint64(self._below - 1)]


def _most_different(chunk: Chunk, names: list[str]) -> list[str]:
    counts = {name: len(np.unique(_hash_column(chunk.column(name)))) for name in names}
    return sorted(names, key=lambda name: -counts[name])[:_CHOOSING_COLUMNS]


def _hash_rows(chunk: Chunk, names: Collection[str]) -> Hashes:
    hashes = np.full(chunk.rows, 0x9E3779B97F4A7C15, np.uint64)
    for name in names:
        hashes = (hashes ^ _hash_column(chunk.column(name))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(31)
    return hashes


def _hash_column(column: Column) -> Hashes:
    if column.ndim > 1:
        column = object_column([row.tobytes() for row in column])
    return np.asarray(pd.util.hash_array(column, categorize=False), np.uint64)


def _joined(parts: list[Column]) -> Column:
    """The parts as one: as text where some are, since the numbers of JSON lines may turn out to be texts."""
    if len({part.dtype for part in parts}) > 1 and any(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else object_column(as_text(part)) for part in parts]
    return np.concatenate(parts)
