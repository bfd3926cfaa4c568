"""Some rows of a stream, drawn evenly from all of them, in memory that does not grow with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EvenSample:
    """Every row draws a key, and those with the smallest keys stay, in their order; all while they fit.

    Args:
        size: How many rows stay.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._bound = np.float64(1)  # above the keys of those that may stay
        self._random = np.random.default_rng(0)
        self._parts: list[list[NDArray[Any]]] = []
        self._held = 0

    def add(self, columns: Sequence[NDArray[Any]]) -> None:
        """Take more of the stream, as columns of equal length."""
        keys = self._random.random(len(columns[0]))
        chosen = np.flatnonzero(keys < self._bound)
        if not len(chosen) and self._parts:
            return
        self._parts.append([column[chosen] for column in (keys, *columns)])
        self._held += len(chosen)
        if self._held > 2 * self._size:  # not each time: it takes longer than the rest
            self._reduce()

    def result(self) -> list[NDArray[Any]]:
        """The columns of the sample so far; none where nothing was added."""
        self._reduce()
        return self._parts[0][1:] if self._parts else []

    def _reduce(self) -> None:
        if not self._parts:
            return
        joined = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        keys = joined[0]
        if len(keys) > self._size:
            self._bound = np.partition(keys, self._size)[self._size]
            joined = [column[keys < self._bound] for column in joined]
        self._parts, self._held = [joined], len(joined[0])
