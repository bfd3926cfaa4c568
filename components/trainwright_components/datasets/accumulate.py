"""Gather statistics of a stream of rows in memory that does not grow with the number of rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.dates import DATE_ORDERS, read_days
from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.datasets.statistics import ColumnStatistics, SplitStatistics
from trainwright_components.datasets.words import WordCounts

Columns = Mapping[str, NDArray[np.generic]]

SAMPLE_SIZE = 8_192
DISTINCT_SAMPLE_SIZE = 65_536
_AT_ONCE = 65_536  # numbers, of which there are keys and copies for a moment
HISTOGRAM_BINS = 30
TOP_VALUES = 1_000
ANSWERS = ("0", "1")
DISTINCT_LIMIT = 10_000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Sample:
    """A uniform random sample of a stream, the same for the same stream; all of it while it fits."""

    def __init__(self, size: int = SAMPLE_SIZE) -> None:
        self.size = size
        self.seen = 0
        self._values = np.empty(0, np.float64)
        self._keys = np.empty(0, np.float64)
        self._bound = np.float64(1)  # above the keys of those that are kept
        self._random = np.random.default_rng(0)

    def add(self, values: NDArray[np.float64]) -> None:
        """Take more of the stream."""
        self.seen += len(values)
        for start in range(0, len(values), _AT_ONCE):
            self._add(values[start : start + _AT_ONCE])
            if len(self._values) > 2 * self.size:  # not each time: it takes longer than the rest
                self._reduce()

    @property
    def values(self) -> NDArray[np.float64]:
        """The sample so far, in the order of the stream."""
        self._reduce()
        return self._values

    def _add(self, values: NDArray[np.float64]) -> None:
        keys = self._random.random(len(values))
        chosen = np.flatnonzero(keys < self._bound)
        if len(chosen):
            self._values = np.concatenate([self._values, values[chosen]])
            self._keys = np.concatenate([self._keys, keys[chosen]])

    def _reduce(self) -> None:
        if len(self._values) > self.size:
            self._bound = np.partition(self._keys, self.size)[self.size]
            kept = self._keys < self._bound
            self._values, self._keys = self._values[kept], self._keys[kept]


class DistinctCounter:
    """How many different numbers a stream holds: exact up to `limit`, beyond that from how close the lowest lie.

    The estimate is that of Bar-Yossef and others, "Counting distinct elements in a data stream" (2002), whose relative
    error is about `1 / sqrt(limit)`.

    Args:
        limit: How many numbers are kept, at least 2.
    """

    def __init__(self, limit: int = DISTINCT_SAMPLE_SIZE) -> None:
        self._limit = limit
        self._lowest = np.empty(0, np.float64)
        self._new: list[NDArray[np.float64]] = []  # sorted in when there are many: each time costs the same

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Take more of the stream: hashes, spread evenly over [0, 1)."""
        if len(self._lowest) == self._limit:
            numbers = numbers[numbers < self._lowest[-1]]
        self._new.append(numbers)
        if sum(map(len, self._new)) > self._limit // 4:
            self._sort_in()

    def _sort_in(self) -> None:
        self._lowest = np.unique(np.concatenate([self._lowest, *self._new]))[: self._limit]
        self._new = []

    def result(self) -> int:
        """The count so far."""
        self._sort_in()
        if len(self._lowest) < self._limit:
            return len(self._lowest)
        return round((self._limit - 1) / float(self._lowest[-1]))


class NumberCounts:
    """How often numbers occur in a stream: exact up to `limit` different ones, else up to a `limit`-th of it too low.

    Misra and Gries, "Finding repeated elements" (1982), merged as in Agarwal and others, "Mergeable summaries" (2012).

    Attributes:
        numbers: Those that are counted, ascending; the rare ones are missing unless the counts are exact.
        counts: Of each of them.
        is_exact: Whether all numbers of the stream are counted.
    """

    def __init__(self, limit: int = SAMPLE_SIZE) -> None:
        self._limit = limit
        self.numbers = np.empty(0, np.float64)
        self.counts = np.empty(0, np.int64)
        self.is_exact = True

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Take more of the stream."""
        weights = np.concatenate([self.counts, np.ones(len(numbers), np.int64)])
        self.numbers, places = np.unique(np.concatenate([self.numbers, numbers]), return_inverse=True)
        self.counts = np.bincount(places, weights).astype(np.int64)
        if len(self.numbers) > self._limit:
            self.is_exact = False
            left = self.counts - np.sort(self.counts)[-self._limit - 1]
            self.numbers, self.counts = self.numbers[left > 0], left[left > 0]


class NumberAccumulator:
    """Moments (Chan's pairwise update), extremes and a sample of numbers; NaN counts as missing."""

    def __init__(self) -> None:
        self._count = self._missing = self._elements = 0
        self._mean = self._squares = 0.0
        self._min, self._max = np.inf, -np.inf
        self._sample = Sample()

    def add(self, column: NDArray[np.generic]) -> None:
        """Take the values of more rows, of any shape per row."""
        values = column.reshape(len(column), -1).astype(np.float64)
        absent = np.isnan(values).all(axis=1) if values.shape[1] else np.zeros(len(values), bool)
        self._missing += int(absent.sum())
        self._count += int((~absent).sum())
        present = values[~np.isnan(values)]
        del values  # rows may be large: one copy while the sample is drawn
        if not present.size:
            return
        mean, total = float(present.mean()), self._elements + present.size
        shift = mean - self._mean
        self._squares += float(((present - mean) ** 2).sum()) + shift**2 * self._elements * present.size / total
        self._mean += shift * present.size / total
        self._elements = total
        self._min, self._max = min(self._min, float(present.min())), max(self._max, float(present.max()))
        self._sample.add(present)

    @property
    def sample(self) -> NDArray[np.float64]:
        """Some of the numbers."""
        return self._sample.values

    def result(self) -> ColumnStatistics:
        """The numbers so far."""
        if not self._elements:
            return ColumnStatistics(count=self._count, missing=self._missing)
        narrowest = HISTOGRAM_BINS * np.spacing(max(abs(self._min), abs(self._max)))  # numpy refuses empty bins
        margin = max(0.5, narrowest) if self._max - self._min < narrowest else 0.0
        limits = (self._min - margin, self._max + margin)
        counts, edges = np.histogram(self._sample.values, bins=HISTOGRAM_BINS, range=limits)
        quantiles = np.quantile(self._sample.values, _QUANTILES)
        return ColumnStatistics(
            count=self._count,
            missing=self._missing,
            mean=self._mean,
            std=float(np.sqrt(self._squares / self._elements)),
            min=self._min,
            max=self._max,
            quantiles={str(name): float(value) for name, value in zip(_QUANTILES, quantiles, strict=True)},
            histogram_edges=tuple(map(float, edges)),
            histogram_counts=tuple(map(int, counts)),
        )


class DayAccumulator:
    """Days of dates, as long as every text is a date of one order; the empty string counts as missing."""

    def __init__(self) -> None:
        self._days = {order: NumberAccumulator() for order in DATE_ORDERS}

    def add(self, texts: Sequence[str]) -> None:
        """Take more rows."""
        if not self._days:
            return
        present = [text for text in texts if text]
        for order, accumulator in [*self._days.items()]:
            days = read_days(present, order)
            if days is None:
                del self._days[order]
            else:
                accumulator.add(days)

    def of(self, statistics: ColumnStatistics) -> ColumnStatistics:
        """`statistics` with the order of its dates, their mean and deviation, where every text is of one order."""
        if len(self._days) != 1:
            return statistics
        [(order, accumulator)] = self._days.items()
        found = accumulator.result()
        if found.mean is None:
            return statistics
        return replace(statistics, days={"mean": found.mean, "std": found.std or 0.0}, date_order=order)


class ValueAccumulator:
    """Counts of strings; beyond `DISTINCT_LIMIT` different ones, new ones are no longer told apart."""

    def __init__(self) -> None:
        self._count = self._missing = 0
        self._values: Counter[str] = Counter()
        self._days = DayAccumulator()

    def add(self, column: NDArray[np.generic]) -> None:
        """Take more rows; the empty string counts as missing."""
        self._days.add(column.tolist())
        counts = Counter(column.tolist())
        self._missing += counts.pop("", 0)
        self._count += counts.total()
        for value, number in counts.items():
            if value in self._values or len(self._values) < DISTINCT_LIMIT:
                self._values[value] += number

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each text occurs."""
        return self._values

    def result(self) -> ColumnStatistics:
        """The counts so far."""
        ranked = sorted(self._values.items(), key=lambda item: (-item[1], item[0]))[:TOP_VALUES]
        counted = ColumnStatistics(
            count=self._count, missing=self._missing, distinct=len(self._values), values=dict(ranked)
        )
        return self._days.of(counted)


class TextAccumulator:
    """Lengths of free texts in characters, and their words; the empty string counts as missing."""

    def __init__(self) -> None:
        self._lengths = NumberAccumulator()
        self._words = WordCounts()
        self._days = DayAccumulator()

    def add(self, column: NDArray[np.generic]) -> None:
        """Take more rows."""
        texts = column.tolist()
        self._lengths.add(np.array([len(text) or np.nan for text in texts], np.float64))
        self._words.add(texts)
        self._days.add(texts)

    def result(self) -> ColumnStatistics:
        """The lengths and the words so far."""
        return self._days.of(replace(self._lengths.result(), words=self._words.result()))


class ClassAccumulator:
    """Counts of the classes of an encoded label, in the order of `class_names`."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._counts = np.zeros(len(class_names), np.int64)

    def add(self, column: NDArray[np.generic]) -> None:
        """Take the class indices of more rows."""
        self._counts += np.bincount(column.astype(np.int64), minlength=len(self._counts))

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each class occurs."""
        return dict(zip(self._class_names, map(int, self._counts), strict=True))

    def result(self) -> ColumnStatistics:
        """The counts so far, of classes without a row too."""
        counts = self.counts
        return ColumnStatistics(count=sum(counts.values()), distinct=sum(map(bool, counts.values())), values=counts)


class PresenceAccumulator:
    """How many rows hold bytes at all."""

    def __init__(self) -> None:
        self._count = self._missing = 0

    def add(self, column: NDArray[np.generic]) -> None:
        """Take more rows; no bytes count as missing."""
        present = sum(1 for value in column.tolist() if value)
        self._count += present
        self._missing += len(column) - present

    def result(self) -> ColumnStatistics:
        """The count so far."""
        return ColumnStatistics(count=self._count, missing=self._missing)


Accumulator = NumberAccumulator | TextAccumulator | ValueAccumulator | ClassAccumulator | PresenceAccumulator


class SplitAccumulator:
    """All columns of one split."""

    def __init__(self, schema: Schema) -> None:
        self.rows = 0
        self.columns: dict[str, Accumulator] = {}
        self.label_values: dict[str, Accumulator] = {}
        self._label_name = ""
        for feature in schema.features:
            self.columns[feature.name] = _accumulator_for(feature)
        if label := schema.label:
            self.columns[label.name] = (
                ClassAccumulator(label.class_names) if label.kind == "class" else NumberAccumulator()
            )
            self._label_name = label.name
            for name in label.statistics_names:
                answers = ClassAccumulator(ANSWERS) if label.kind == "multilabel" else NumberAccumulator()
                self.label_values[name] = answers
        if schema.weight:
            self.columns[schema.weight] = NumberAccumulator()

    def add(self, columns: Columns) -> None:
        """Take more rows, stored as the schema says."""
        self.rows += len(next(iter(columns.values())))
        for name, accumulator in self.columns.items():
            accumulator.add(columns[name])
        for place, accumulator in enumerate(self.label_values.values()):
            accumulator.add(columns[self._label_name][:, place])

    @property
    def by_column(self) -> Mapping[str, Accumulator]:
        """Each column by itself: of a label of several values the values."""
        columns = {name: each for name, each in self.columns.items() if name != self._label_name}
        return {**columns, **self.label_values} if self.label_values else self.columns

    def result(self) -> SplitStatistics:
        """The numbers so far."""
        accumulators = self.columns | self.label_values
        columns = {name: accumulator.result() for name, accumulator in accumulators.items()}
        return SplitStatistics(rows=self.rows, columns=columns)


def _accumulator_for(feature: Feature) -> Accumulator:
    if feature.dtype != "string":
        return NumberAccumulator()
    if feature.kind == "image":
        return PresenceAccumulator()
    return TextAccumulator() if feature.kind == "text" else ValueAccumulator()
