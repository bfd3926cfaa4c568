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

from trainwright_components.datasets.accumulate import DistinctCounter, NumberCounts, Sample
from trainwright_components.datasets.chunks import Chunk, as_text, object_column
from trainwright_components.datasets.hashing import FractionOf, text_fraction
from trainwright_components.datasets.profile import DISTINCT_LIMIT
from trainwright_components.datasets.times import read_times
from trainwright_components.prepare_data.repeats import Repeats, room

Names = NDArray[np.object_]
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


class RowWay(Splitter, Protocol):
    """A way to split that a `RowSplitter` may choose."""

    @property
    def repeats(self) -> Repeats:
        """The rows that occur often, after the first pass."""

    def wanted_rows(self) -> Mapping[str, int]:
        """What `expected_rows` would be if no row occurred often."""

    def without_classes(self) -> "RowWay":
        """The same way for a label that turned out to be no class."""


class HashSplitter:
    """By a stable hash: `fraction_of` gives each row a number in [0, 1); the lowest are the test.

    Up to `EXACT_KEYS` different rows or keys are shared out exactly, so that no split is empty by chance.

    Args:
        fractions: The wanted shares.
        fraction_of: The numbers of the rows.
        counts: Counts the numbers, where rows that occur often shall not upset the shares.
    """

    def __init__(
        self,
        fractions: Mapping[str, float],
        fraction_of: FractionOf,
        *,
        rows: int = 0,
        seen: Iterable[float] = (),
        counts: NumberCounts | None = None,
    ) -> None:
        self._fractions, self._fraction_of, self._rows = fractions, fraction_of, rows
        self._seen, self._counts = set(seen), counts

    def observe(self, chunk: Chunk) -> None:
        """Count the rows, and tell few keys from many."""
        self._rows += chunk.rows
        numbers = self._fraction_of(chunk)
        if self._counts:
            self._counts.add(numbers)
        if len(self._seen) <= EXACT_KEYS:
            self._seen.update(numbers.tolist())

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        names, numbers = _all_train(chunk), self._fraction_of(chunk)
        for split, bound in reversed([*zip(self._fractions, self._bounds, strict=True)]):
            names[numbers < bound] = split
        names[np.isin(numbers, self.repeats.heavy)] = "train"
        return names

    def expected_rows(self) -> Mapping[str, int]:
        """The wanted shares, as far as rows that occur often allow."""
        if not self.repeats:
            return self.wanted_rows()
        below = [self.repeats.rows_below(bound) for bound in self._bounds]
        return _with_train(dict(zip(self._fractions, np.diff(below, prepend=0), strict=True)), self._rows)

    def wanted_rows(self) -> Mapping[str, int]:
        """The wanted shares."""
        return _shares(self._fractions, self._rows)

    def without_classes(self) -> "HashSplitter":
        """Itself."""
        return self

    @cached_property
    def repeats(self) -> Repeats:
        """The rows that occur often, after the first pass."""
        return Repeats.find(self._fractions, self._counts or NumberCounts(), rows=self._rows)

    @cached_property
    def _bounds(self) -> Sequence[float]:
        if self.repeats:
            return self.repeats.bounds
        return _find_bounds(self._fractions, sorted(self._seen), exact_up_to=EXACT_KEYS)


class StratifiedSplitter:
    """By a stable hash of the row, with the wanted shares in each class.

    The shares are exact in classes of up to `EXACT_ROWS_PER_CLASS` rows; larger ones come near them by themselves.
    A class with more rows than there are splits has at least one in each. Rows with one hash stay together whatever
    their classes are, which may move the shares of these classes a little.

    Args:
        fractions: The wanted shares.
        fraction_of: The numbers of the rows.
        label: The column with the class.
        counts: Counts the numbers, where rows that occur often shall not upset the shares.
    """

    def __init__(
        self,
        fractions: Mapping[str, float],
        fraction_of: FractionOf,
        label: str,
        *,
        counts: NumberCounts | None = None,
    ) -> None:
        self._fractions, self._fraction_of, self._label, self._counts = fractions, fraction_of, label, counts
        self._rows = 0
        self._seen: dict[str, array[float]] = {}

    def observe(self, chunk: Chunk) -> None:
        """Gather the numbers of small classes."""
        self._rows += chunk.rows
        numbers = self._fraction_of(chunk)
        if self._counts:
            self._counts.add(numbers)
        if len(self._seen) > DISTINCT_LIMIT:
            return
        classes, names = pd.factorize(object_column(as_text(chunk.column(self._label))))
        of_class = np.split(numbers[np.argsort(classes, kind="stable")], np.cumsum(np.bincount(classes))[:-1])
        for name, those in zip(names, of_class, strict=True):
            seen = self._seen.setdefault(name, array("d"))
            seen.extend(those[: max(0, EXACT_ROWS_PER_CLASS + 1 - len(seen))])

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        numbers = self._fraction_of(chunk)
        texts = as_text(chunk.column(self._label))
        classes = np.fromiter(map(self._classes.__getitem__, texts), np.intp, len(texts))
        splits: Names = np.array([*self._fractions, "train"], dtype=object)
        names: Names = splits[self._place(numbers, classes)]
        return names

    def expected_rows(self) -> Mapping[str, int]:
        """The wanted shares, as far as rows that occur often allow."""
        if not self.repeats:
            return self.wanted_rows()
        splits = len(self._fractions)
        counts = np.zeros(splits + 1)
        for index, numbers in enumerate(self._small):
            if len(numbers):
                counts += np.bincount(self._place(numbers, np.full(len(numbers), index)), minlength=splits + 1)
        large = next((index for index, numbers in enumerate(self._small) if not len(numbers)), None)
        if large is not None:
            rest = self._repeats_of_large
            counts[:splits] += rest.others * np.diff(self._bounds[large], prepend=0)
            places = self._place(rest.numbers, np.full(len(rest.numbers), large))
            counts += np.bincount(places, rest.rows, minlength=splits + 1)
        return _with_train(dict(zip(self._fractions, counts, strict=False)), self._rows)

    def wanted_rows(self) -> Mapping[str, int]:
        """The wanted shares of each class."""
        small = [len(numbers) for numbers in self._small if len(numbers)]
        large = self._rows - sum(small)
        wanted = dict(_shares(self._fractions, large))
        for split, share in self._fractions.items():
            wanted[split] += sum(_share_of_few(share, count, self._fractions) for count in small)
        return _with_train({split: wanted[split] for split in self._fractions}, self._rows)

    def without_classes(self) -> HashSplitter:
        """The same splits for a label that turned out to be no class."""
        seen = {number for numbers in self._seen.values() for number in numbers}
        return HashSplitter(self._fractions, self._fraction_of, rows=self._rows, seen=seen, counts=self._counts)

    @cached_property
    def repeats(self) -> Repeats:
        """The rows that occur often, after the first pass."""
        return Repeats.find(self._fractions, self._counts or NumberCounts(), rows=self._rows)

    def _place(self, numbers: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.intp]:
        """The index of each row's split among `fractions`; training comes after the last."""
        known, owners = self._owners
        if len(known):
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            classes = np.where(known[places] == numbers, owners[places], classes)
        splits: NDArray[np.intp] = (numbers[:, None] >= self._bounds[classes]).sum(axis=1)
        splits[np.isin(numbers, self.repeats.heavy)] = len(self._fractions)
        return splits

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        return {name: index for index, name in enumerate(sorted(self._seen))}

    @property
    def _small(self) -> Iterable[NDArray[np.float64]]:
        """The numbers of each class, none of a large one."""
        seen = (self._seen[name] for name in self._classes)
        return (np.array(numbers if len(numbers) <= EXACT_ROWS_PER_CLASS else (), np.float64) for numbers in seen)

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        """Below which number each split ends: `(classes, splits)`."""
        bounds = [self._bounds_of(numbers) for numbers in self._small]
        return np.array(bounds, np.float64).reshape(len(bounds), len(self._fractions))

    def _bounds_of(self, numbers: NDArray[np.float64]) -> Sequence[float]:
        if not len(numbers):
            return self._repeats_of_large.bounds
        light = np.sort(numbers[~np.isin(numbers, self.repeats.heavy)]) if self.repeats else np.sort(numbers)
        more = room(self._fractions, len(numbers), len(light)) * len(numbers) / max(1, len(light))
        fractions = {split: share * more for split, share in self._fractions.items()}
        return _find_bounds(fractions, light, exact_up_to=EXACT_ROWS_PER_CLASS)

    @cached_property
    def _repeats_of_large(self) -> Repeats:
        """Those in large classes."""
        repeats = self.repeats
        for numbers in self._small if repeats else ():
            repeats = repeats.without(numbers)
        return repeats

    @cached_property
    def _owners(self) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Every number of a small class, sorted, and the first class that has it, whose bounds hold for all its rows.

        Large classes have the same bounds, so that their rows agree without being known.
        """
        small = [*self._small]
        known, first = np.unique(np.concatenate(small), return_index=True)
        return known, np.repeat(np.arange(len(small)), [len(numbers) for numbers in small])[first]


class RowSplitter:
    """Chooses between the content of the rows and their position, which tells equal rows apart.

    Few different rows cannot be shared out: whatever becomes of the most frequent one, becomes of its thousand copies.
    Their position is taken where more than half of the rows repeat the features of an earlier one, or where the
    content would miss a wanted share by more than a quarter of the smallest.

    Args:
        content_of: The numbers that equal features share.
    """

    def __init__(self, *, by_content: RowWay, by_position: RowWay, content_of: FractionOf) -> None:
        self._by_content, self._by_position, self._content_of = by_content, by_position, content_of
        self._different = DistinctCounter()
        self.rows = 0
        self.is_by_position = False

    def observe(self, chunk: Chunk) -> None:
        """Count what repeats."""
        self.rows += chunk.rows
        self._different.add(self._content_of(chunk))
        self._by_content.observe(chunk)

    def choose(self, chunks: Callable[[], Iterable[Chunk]], *, has_classes: bool) -> RowWay:
        """The way to split, after the first pass.

        What the position needs is gathered only now, from `chunks`, lest the memory for both is needed at once.
        """
        by_content = self._by_content if has_classes else self._by_content.without_classes()
        self.is_by_position = self.most_repeat or _misses(by_content)
        if not self.is_by_position:
            return by_content
        del self._by_content, by_content
        by_position = self._by_position if has_classes else self._by_position.without_classes()
        for chunk in chunks():
            by_position.observe(chunk)
        return by_position

    @property
    def different_rows(self) -> int:
        """About how many rows have features of their own."""
        return min(self.rows, self._different.result())

    @property
    def most_repeat(self) -> bool:
        """Whether more than half of the rows repeat the features of an earlier one."""
        return 2 * (self.rows - self.different_rows) > self.rows


def _misses(way: RowWay) -> bool:
    """Whether rows that occur often leave a split empty, or away from its share by more than a quarter of the least."""
    expected, wanted = way.expected_rows(), way.wanted_rows()
    allowed = max(2.0, min(wanted[split] for split in ("train", *way.repeats.fractions)) / 4)
    return any(
        abs(expected[split] - rows) > allowed or (rows > 0 and not expected[split]) for split, rows in wanted.items()
    )


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
        self._sample.add(read_times(chunk, self._column))

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        if not self._starts:
            self._starts = self._find_starts()
        names, times = _all_train(chunk), read_times(chunk, self._column)
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
        self,
        fractions: Mapping[str, float],
        fraction_of: FractionOf,
        given: Callable[[Chunk], Names],
        *,
        counts: NumberCounts | None = None,
    ) -> None:
        self._fractions, self._fraction_of, self._given, self._counts = fractions, fraction_of, given, counts
        self._rows: Counter[str] = Counter()

    def observe(self, chunk: Chunk) -> None:
        """Learn which splits there are."""
        names = self._given(chunk)
        self._rows.update(names.tolist())
        if self._counts:
            self._counts.add(self._fraction_of(chunk)[names == "train"])

    def assign(self, chunk: Chunk) -> Names:
        """The split of each row."""
        names = self._given(chunk)
        return np.where(names == "train", self._taken.assign(chunk), names)

    def expected_rows(self) -> Mapping[str, int]:
        """What is given, and the wanted shares of the rest, as far as rows that occur often allow."""
        return {**self._rows, **self._taken.expected_rows()}

    def wanted_rows(self) -> Mapping[str, int]:
        """What is given, and the wanted shares of the rest."""
        return {**self._rows, **self._taken.wanted_rows()}

    def without_classes(self) -> "GivenSplitter":
        """Itself."""
        return self

    @property
    def repeats(self) -> Repeats:
        """The rows that occur often, after the first pass."""
        return self._taken.repeats

    @property
    def open_splits(self) -> Mapping[str, float]:
        """The shares of the wanted splits that no row is given for."""
        return {split: share for split, share in self._fractions.items() if split not in self._rows}

    @cached_property
    def _taken(self) -> HashSplitter:
        return HashSplitter(self.open_splits, self._fraction_of, rows=self._rows["train"], counts=self._counts)


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


def _find_bounds(
    fractions: Mapping[str, float], numbers: Sequence[float] | NDArray[np.float64], *, exact_up_to: int
) -> Sequence[float]:
    """Below which number each split ends; `numbers` are sorted, and all there are if not too many."""
    if not len(numbers) or len(numbers) > exact_up_to:
        return [float(bound) for bound in np.cumsum(list(fractions.values()))]
    bounds, taken = [], 0
    for share in fractions.values():
        taken += _share_of_few(share, len(numbers), fractions)
        bounds.append(float(numbers[min(taken, len(numbers) - 1)]))
    return bounds


def _share_of_few(share: float, count: int, fractions: Mapping[str, float]) -> int:
    at_least = 1 if count > len(fractions) else 0
    return max(at_least, math.floor(share * count + 0.5))


def _all_train(chunk: Chunk) -> Names:
    return np.full(chunk.rows, "train", dtype=object)


def _shares(fractions: Mapping[str, float], total: int) -> dict[str, int]:
    others = {split: share * total for split, share in fractions.items()}
    return _with_train(others, total)


def _with_train(others: Mapping[str, float], total: int) -> dict[str, int]:
    rounded = {split: round(rows) for split, rows in others.items()}
    return {"train": total - sum(rounded.values()), **rounded}


_: tuple[type[Splitter], ...] = (
    HashSplitter,
    StratifiedSplitter,
    TimeSplitter,
    GivenSplitter,
    WholeFilesSplitter,
)
__: tuple[type[RowWay], ...] = (HashSplitter, StratifiedSplitter, GivenSplitter)
