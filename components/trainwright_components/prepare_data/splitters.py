"""The ways to decide whether a row is for training, validation or test. A splitter sees all rows before it decides."""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.accumulate import DistinctCounter, Sample
from trainwright_components.datasets.chunks import Chunk, NotANumber, as_numbers, as_text, is_missing
from trainwright_components.datasets.profile import DISTINCT_LIMIT
from trainwright_components.errors import InvalidData
from trainwright_components.prepare_data.hashing import text_fraction

Names = NDArray[np.object_]
FractionOf = Callable[[Chunk], NDArray[np.float64]]
EXACT_ROWS_PER_CLASS = 4_000
EXACT_KEYS = 100
EXACT_TIMES = 1_000_000


class Splitter(Protocol):
    """One way to split."""

    def observe(self, chunk: Chunk) -> None:
        """Look at rows of the first pass."""

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row of the second pass: `(rows,)` of `train`, `validation`, `test`."""

    def expected_rows(self) -> Mapping[str, int]:
        """About how many rows each wanted split gets, after the first pass."""


class HashSplitter:
    """By a stable hash: `fraction_of` gives each row a number in [0, 1); the lowest are the test.

    Up to `EXACT_KEYS` different rows or keys are shared out exactly, so that no split is empty by chance.
    """

    def __init__(
        self, fractions: Mapping[str, float], fraction_of: FractionOf, *, rows: int = 0, seen: Iterable[float] = ()
    ) -> None:
        self._fractions, self._fraction_of, self._rows = fractions, fraction_of, rows
        self._seen = set(seen)

    def observe(self, chunk: Chunk) -> None:
        """Count the rows, and tell few keys from many."""
        self._rows += chunk.rows
        if len(self._seen) <= EXACT_KEYS:
            self._seen.update(self._fraction_of(chunk).tolist())

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        names, numbers = _all_train(chunk), self._fraction_of(chunk)
        bounds = _find_bounds(self._fractions, sorted(self._seen), exact_up_to=EXACT_KEYS)
        for split, bound in reversed([*zip(self._fractions, bounds, strict=True)]):
            names[numbers < bound] = split
        return names

    def expected_rows(self) -> Mapping[str, int]:
        """The wanted shares."""
        return _shares(self._fractions, self._rows)


class StratifiedSplitter:
    """By a stable hash of the row, with the wanted shares in each class.

    The shares are exact in classes of up to `EXACT_ROWS_PER_CLASS` rows; larger ones come near them by themselves.
    A class with more rows than there are splits has at least one in each. Rows with one hash stay together whatever
    their classes are, which may move the shares of these classes a little.
    """

    def __init__(self, fractions: Mapping[str, float], fraction_of: FractionOf, label: str) -> None:
        self._fractions, self._fraction_of, self._label = fractions, fraction_of, label
        self._rows = 0
        self._seen: dict[str, array[float]] = {}

    def observe(self, chunk: Chunk) -> None:
        """Gather the numbers of small classes."""
        self._rows += chunk.rows
        if len(self._seen) > DISTINCT_LIMIT:
            return
        for name, number in zip(as_text(chunk.column(self._label)), self._fraction_of(chunk).tolist(), strict=True):
            seen = self._seen.setdefault(name, array("d"))
            if len(seen) <= EXACT_ROWS_PER_CLASS:
                seen.append(number)

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        numbers = self._fraction_of(chunk)
        classes = np.array([self._classes[name] for name in as_text(chunk.column(self._label))], np.intp)
        known, owners = self._owners
        if len(known):
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            classes = np.where(known[places] == numbers, owners[places], classes)
        splits: Names = np.array([*self._fractions, "train"], dtype=object)
        names: Names = splits[(numbers[:, None] >= self._bounds[classes]).sum(axis=1)]
        return names

    def expected_rows(self) -> Mapping[str, int]:
        """The wanted shares."""
        return _shares(self._fractions, self._rows)

    def without_classes(self) -> HashSplitter:
        """The same splits for a label that turned out to be no class."""
        seen = {number for numbers in self._seen.values() for number in numbers}
        return HashSplitter(self._fractions, self._fraction_of, rows=self._rows, seen=seen)

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        return {name: index for index, name in enumerate(sorted(self._seen))}

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        """Below which number each split ends: `(classes, splits)`."""
        bounds = [
            _find_bounds(self._fractions, sorted(self._seen[name]), exact_up_to=EXACT_ROWS_PER_CLASS)
            for name in self._classes
        ]
        return np.array(bounds, np.float64).reshape(len(bounds), len(self._fractions))

    @cached_property
    def _owners(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Every number of a small class, sorted, and the first class that has it, whose bounds hold for all its rows.

        Large classes have the same bounds, so that their rows agree without being known.
        """
        seen = (self._seen[name] for name in self._classes)
        small = [np.array(numbers if len(numbers) <= EXACT_ROWS_PER_CLASS else (), np.float64) for numbers in seen]
        known, first = np.unique(np.concatenate(small), return_index=True)
        return known, np.repeat(np.arange(len(small)), [len(numbers) for numbers in small])[first]


class RowSplitter:
    """By the content of the rows; by their position where more than half of them repeat the features of an earlier one.

    Few different rows cannot be shared out: whatever becomes of the most frequent one, becomes of its thousand copies.

    Args:
        content_of: The numbers that equal features share.
    """

    def __init__(self, *, by_content: Splitter, by_position: Splitter, content_of: FractionOf) -> None:
        self._by_content, self._by_position, self._content_of = by_content, by_position, content_of
        self._different = DistinctCounter()
        self.rows = 0

    def observe(self, chunk: Chunk) -> None:
        """Count what repeats, and prepare for both ways."""
        self.rows += chunk.rows
        self._different.add(self._content_of(chunk))
        self._by_content.observe(chunk)
        self._by_position.observe(chunk)

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        return self.chosen.assign(chunk)

    def expected_rows(self) -> Mapping[str, int]:
        """Of the chosen way."""
        return self.chosen.expected_rows()

    @property
    def different_rows(self) -> int:
        """About how many rows have features of their own."""
        return min(self.rows, self._different.result())

    @property
    def is_by_position(self) -> bool:
        """Whether more than half of the rows repeat the features of an earlier one."""
        return 2 * (self.rows - self.different_rows) > self.rows

    @property
    def chosen(self) -> Splitter:
        """The way to split, after the first pass."""
        return self._by_position if self.is_by_position else self._by_content


class TimeSplitter:
    """By time: the latest rows are the test, those before them the validation; one moment is never on two sides.

    Up to `EXACT_TIMES` rows the shares are exact, beyond that they come from a sample of that size.
    """

    def __init__(self, fractions: Mapping[str, float], column: str) -> None:
        self._fractions, self._column = fractions, column
        self._rows, self._sample = 0, Sample(EXACT_TIMES)
        self._starts: dict[str, float] = {}

    def observe(self, chunk: Chunk) -> None:
        """Gather the times."""
        self._rows += chunk.rows
        self._sample.add(_times(chunk, self._column))

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        if not self._starts:
            self._starts = self._find_starts()
        names, times = _all_train(chunk), _times(chunk, self._column)
        for split, start in reversed(self._starts.items()):
            names[times >= start] = split
        return names

    def expected_rows(self) -> Mapping[str, int]:
        """The wanted shares."""
        return _shares(self._fractions, self._rows)

    def _find_starts(self) -> dict[str, float]:
        times, later, starts = np.sort(self._sample.values), 0.0, {}
        for split, share in self._fractions.items():
            later += share
            starts[split] = float(times[min(len(times) - 1, len(times) - round(later * len(times)))])
        return starts


class GivenSplitter:
    """As `given` says of each row; a wanted split without any row is taken from the training rows by hash."""

    def __init__(
        self, fractions: Mapping[str, float], fraction_of: FractionOf, given: Callable[[Chunk], Names]
    ) -> None:
        self._fractions, self._fraction_of, self._given = fractions, fraction_of, given
        self._rows: Counter[str] = Counter()

    def observe(self, chunk: Chunk) -> None:
        """Learn which splits there are."""
        self._rows.update(self._given(chunk).tolist())

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        names = self._given(chunk)
        taken = HashSplitter(self.open_splits, self._fraction_of).assign(chunk)
        return np.where(names == "train", taken, names)

    def expected_rows(self) -> Mapping[str, int]:
        """What is given, and the wanted shares of the rest."""
        return {**self._rows, **_shares(self.open_splits, self._rows["train"])}

    @property
    def open_splits(self) -> Mapping[str, float]:
        """The shares of the wanted splits that no row is given for."""
        return {split: share for split, share in self._fractions.items() if split not in self._rows}


class WholeFilesSplitter:
    """File by file, so that rows may stay where they are: as given, what is open by a stable hash of the names.

    Args:
        fractions: The wanted shares.
        given: The files of each split that is given; those of a split that is not come out of `train`.
        seed: Another number gives another choice.
    """

    def __init__(self, fractions: Mapping[str, float], given: Mapping[str, Sequence[str]], *, seed: int) -> None:
        self.files = {split: list(files) for split, files in given.items()}
        total = len(self.files["train"])
        ranked = sorted(self.files["train"], key=lambda file: text_fraction(file.rpartition("/")[2], seed=seed))
        for split in [split for split in fractions if split not in given]:
            count = max(1, round(fractions[split] * total))
            self.files[split], ranked = sorted(ranked[:count]), ranked[count:]
        self.files["train"] = sorted(ranked)
        self._split_of = {file: split for split, files in self.files.items() for file in files}
        self._rows: Counter[str] = Counter()

    def observe(self, chunk: Chunk) -> None:
        """Count the rows of each split."""
        self._rows[self._split_of[chunk.origin]] += chunk.rows

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        return np.full(chunk.rows, self._split_of[chunk.origin], dtype=object)

    def expected_rows(self) -> Mapping[str, int]:
        """What was counted."""
        return self._rows


def _find_bounds(fractions: Mapping[str, float], numbers: Sequence[float], *, exact_up_to: int) -> Sequence[float]:
    """Below which number each split ends; `numbers` are sorted, and all there are if not too many."""
    if not numbers or len(numbers) > exact_up_to:
        return [float(bound) for bound in np.cumsum(list(fractions.values()))]
    bounds, taken = [], 0
    for share in fractions.values():
        at_least = 1 if len(numbers) > len(fractions) else 0
        taken += max(at_least, math.floor(share * len(numbers) + 0.5))
        bounds.append(numbers[min(taken, len(numbers) - 1)])
    return bounds


def _times(chunk: Chunk, column: str) -> NDArray[np.float64]:
    values = chunk.column(column)
    missing = is_missing(values, is_typed=chunk.is_typed)
    if missing.any():
        place = chunk.place(int(missing.argmax()))
        raise InvalidData(f"{place}: time_column {column!r} has no value; fill it in or remove the row")
    try:
        return as_numbers(values, is_typed=chunk.is_typed).astype(np.float64)
    except NotANumber:
        moments = pd.to_datetime(pd.Series(as_text(values)), format="ISO8601", utc=True, errors="coerce")
    if moments.isna().any():
        row = int(np.asarray(moments.isna()).argmax())
        raise InvalidData(
            f"{chunk.place(row)}: time_column {column!r} must hold numbers or ISO 8601 times such as "
            f"2026-01-31 12:00, got {values[row]!r}"
        )
    return np.asarray(moments.astype("datetime64[ns, UTC]").astype(np.int64), np.float64)


def _all_train(chunk: Chunk) -> Names:
    return np.full(chunk.rows, "train", dtype=object)


def _shares(fractions: Mapping[str, float], total: int) -> dict[str, int]:
    others = {split: round(share * total) for split, share in fractions.items()}
    return {"train": total - sum(others.values()), **others}


_: tuple[type[Splitter], ...] = (
    HashSplitter,
    StratifiedSplitter,
    RowSplitter,
    TimeSplitter,
    GivenSplitter,
    WholeFilesSplitter,
)
