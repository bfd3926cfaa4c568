"""Rows that occur so often that chance no longer gives each split its share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.accumulate import NumberCounts

_FEW_COPIES = 4
_FREQUENT, _HEAVY = 1 / 100, 1 / 8  # of the smallest share
_MOST_OF_THE_REST = 0.75  # for the other splits, lest the training rows are copies of one row alone


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The hashes that many rows share, and how many rows have others, which spread evenly over [0, 1).

    Args:
        fractions: The wanted shares.
        heavy: Hashes whose rows are all for training, ascending; each would fill much of another split.
        heavy_rows: How many rows each of them has.
        numbers: Hashes whose rows are counted one by one, ascending.
        rows: How many rows each of these has.
        others: How many rows have none of all these.
    """

    fractions: Mapping[str, float]
    heavy: NDArray[np.float64]
    heavy_rows: NDArray[np.int64]
    numbers: NDArray[np.float64]
    rows: NDArray[np.int64]
    others: int

    @classmethod
    def find(cls, fractions: Mapping[str, float], counts: NumberCounts, *, rows: int) -> Self:
        """Those among `rows` rows."""
        smallest = min(fractions.values(), default=math.inf) * rows
        heavy = counts.counts > max(_FEW_COPIES, _HEAVY * smallest)
        counted = counts.counts > max(_FEW_COPIES, _FREQUENT * smallest)
        if counts.is_exact and counted.any():
            counted[:] = True
        counted &= ~heavy
        return cls(
            fractions=fractions,
            heavy=counts.numbers[heavy],
            heavy_rows=counts.counts[heavy],
            numbers=counts.numbers[counted],
            rows=counts.counts[counted],
            others=rows - int(counts.counts[heavy | counted].sum()),
        )

    def __bool__(self) -> bool:
        return bool(len(self.heavy) or len(self.numbers))

    @property
    def total(self) -> int:
        """All rows."""
        return self.others + int(self.rows.sum() + self.heavy_rows.sum())

    @cached_property
    def bounds(self) -> list[float]:
        """Below which hash each split ends, so that the wanted shares come out."""
        wanted = np.cumsum(list(self.fractions.values()))
        if not self:
            return [float(bound) for bound in wanted]
        free = self.total - int(self.heavy_rows.sum())
        return [self._reach(rows) for rows in wanted * self.total * room(self.fractions, self.total, free)]

    def rows_below(self, bound: float) -> float:
        """About how many rows have a hash below `bound` and are not heavy."""
        return self.others * bound + float(self.rows[self.numbers < bound].sum())

    def without(self, numbers: NDArray[np.float64]) -> Self:
        """What is left when the rows with `numbers` are gone."""
        heavy, counted = _count(self.heavy, numbers), _count(self.numbers, numbers)
        return replace(
            self,
            heavy_rows=np.maximum(self.heavy_rows - heavy, 0),
            rows=np.maximum(self.rows - counted, 0),
            others=max(0, self.others - (len(numbers) - int(heavy.sum() + counted.sum()))),
        )

    def _reach(self, wanted: float) -> float:
        """The bound with about `wanted` rows below it: the rows of one hash are on one side, the nearer one."""
        after = self.others * self.numbers + np.cumsum(self.rows)
        place = int(np.searchsorted(after, wanted))
        if place < len(after) and wanted > after[place] - self.rows[place]:
            number = float(self.numbers[place])
            return number if after[place] - wanted > self.rows[place] / 2 else float(np.nextafter(number, 1))
        if not self.others:
            return float(self.numbers[place]) if place < len(self.numbers) else 1.0
        return float((wanted - self.rows[:place].sum()) / self.others)


def room(fractions: Mapping[str, float], total: int, free: int) -> float:
    """Which part of their shares of `total` rows the splits can have when only `free` rows may leave the training."""
    share = sum(fractions.values())
    return min(1.0, max(_MOST_OF_THE_REST, share) * free / (share * total)) if share and total else 1.0


def _count(known: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    if not len(known):
        return np.zeros(0, np.int64)
    places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
    return np.bincount(places[known[places] == numbers], minlength=len(known)).astype(np.int64)
