"""Features made of the labels of earlier rows, row by row as the source is read.

Training, batch scoring and `predict --file` make them here, so that they agree.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import (
    Chunk,
    Column,
    NotANumber,
    Source,
    SourceTraits,
    as_numbers,
    as_text,
)
from trainwright_components.datasets.schema import History
from trainwright_components.datasets.times import IsoTimes, read_times
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean

MAX_SERIES = 100_000
MAX_LABELS = 4_000_000  # 32 MB
MAX_WINDOW = 10_000  # labels are added up for each row: 25,000 rows a second

_log = logging.getLogger(__name__)


class HistoryRows:
    """The rows of `source` with the columns of `history`, NaN where a series has not so many rows, or no label there.

    Remembers the last labels of each series: `MAX_SERIES` series at most, and `MAX_LABELS` labels of all together.

    Raises:
        InvalidSetting: The source lacks a column that they are made of.
        InvalidData: It has a column of the name of one of them.
    """

    def __init__(self, source: Source, history: History) -> None:
        self._source, self._history = source, history
        traits = source.traits
        named = {"data.series_column": history.series, "data.time_column": history.time, "label": history.label}
        for setting, name in named.items():
            if traits.columns and name and name not in traits.columns:
                hint = did_you_mean(name, traits.columns)
                raise InvalidSetting(f"{setting} names the column {name!r}, which {traits.name} lacks{hint}")
        _refuse_taken(traits.columns, history, source=traits.name)

    @property
    def traits(self) -> SourceTraits:
        """Those of the source, whose files lack the new columns and cannot be referred to."""
        traits = self._source.traits
        return replace(traits, columns=(*traits.columns, *self._history.names) if traits.columns else (), files=())

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: Rows of a series are not in the order of time, a label is not a number, there are too many
                series, or none is longer than what the longest lag or window looks back.
        """
        memory = _Memory(self._history)
        for chunk in self._source.chunks():
            _refuse_taken(tuple(chunk.columns), self._history, source=chunk.origin)
            yield memory.extend(chunk)
        if 0 < memory.longest <= self._history.depth:
            of = f" in one {self._history.series!r}" if self._history.series else ""
            raise InvalidData(
                f"{self._source.traits.name} has {memory.longest:,} rows{of} at most, so that no row has "
                f"{self._history.depth:,} before it; lower data.lags, data.windows and data.season"
            )


class RowsToScore:
    """The rows of `source` for a model with features of `history`: made here, unless the source has them itself."""

    def __init__(self, source: Source, history: History) -> None:
        self._source, self._history = source, history

    @property
    def traits(self) -> SourceTraits:
        """Those of the source."""
        return self._source.traits

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: The source has neither these columns nor those that they are made of; or as `HistoryRows`.
        """
        memory, rows, short = _Memory(self._history), 0, 0
        for chunk in self._source.chunks():
            if all(name in chunk.columns for name in self._history.names):
                yield chunk
                continue
            if not rows:
                _refuse_absent(chunk, self._history)
            _refuse_taken(tuple(chunk.columns), self._history, source=chunk.origin)
            made = memory.extend(chunk)
            rows += made.rows
            short += int(np.any([np.isnan(made.columns[name]) for name in self._history.names], axis=0).sum())
            yield made
        if short:
            _log.warning(
                "%s: %d of %d rows lack labels of the %d rows before them, and are scored without; give rows with "
                "their labels before those to score",
                self._source.traits.name,
                short,
                rows,
                self._history.depth,
            )


def with_history(source: Source, history: History | None) -> Source:
    """`source` as a model takes it that was trained on rows with `history`."""
    if history and history.day_first:
        source = IsoTimes(source=source, column=history.time, day_first=history.day_first == "yes")
    return RowsToScore(source, history) if history else source


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where the labels of a chunk, sorted by series, lie among those remembered before them.

    Args:
        order: Of the rows, so that those of a series follow each other.
        series: The number of each series in the chunk.
        first: The place of the first row of each series in `order`.
        counts: How many rows each has.
    """

    order: NDArray[np.intp]
    series: NDArray[np.intp]
    first: NDArray[np.intp]
    counts: NDArray[np.intp]

    @classmethod
    def of(cls, numbers: NDArray[np.intp]) -> "_Places":
        order = np.argsort(numbers, kind="stable")
        series, first, counts = np.unique(numbers[order], return_index=True, return_counts=True)
        return cls(order=order, series=series, first=first, counts=counts)


class _Memory:
    """The last labels and the last moment of each series."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._numbers: dict[str, int] = {}
        self._labels = np.empty((0, history.depth), np.float64)
        self._times = np.empty(0, np.float64)
        self._shown_times = np.empty(0, object)
        self._rows = np.empty(0, np.intp)

    @property
    def longest(self) -> int:
        """How many rows the longest series has so far."""
        return int(self._rows.max(initial=0))

    def extend(self, chunk: Chunk) -> Chunk:
        """`chunk` with the columns that its rows and those before it make."""
        times, labels = read_times(chunk, self._history.time), _read_labels(chunk, self._history)
        places = _Places.of(self._number_series(chunk))
        self._check_order(chunk, times, places)
        depth = self._history.depth
        starts = places.first + depth * np.arange(len(places.series))  # of what is remembered of each series
        line = np.empty(chunk.rows + depth * len(places.series), np.float64)
        line[starts[:, None] + np.arange(depth)] = self._labels[places.series]
        rows = np.arange(chunk.rows) + depth * np.repeat(np.arange(1, len(places.series) + 1), places.counts)
        line[rows] = labels[places.order]
        self._labels[places.series] = line[(starts + places.counts)[:, None] + np.arange(depth)]
        self._rows[places.series] += places.counts
        made = {name: np.empty(chunk.rows, np.float64) for name in self._history.names}
        for lag in self._history.lags:
            made[self._history.lag_name(lag)][places.order] = line[rows - lag]
        for window in self._history.windows:
            made[self._history.mean_name(window)][places.order] = _means(line, rows, window)
        return chunk.with_columns(made)

    def _number_series(self, chunk: Chunk) -> NDArray[np.intp]:
        """The number of the series of each row; there is room for each."""
        name, numbers = self._history.series, self._numbers
        texts = as_text(chunk.column(name)) if name else [""] * chunk.rows
        if name and "" in texts:
            place = chunk.place(texts.index(""))
            raise InvalidData(f"{place}: data.series_column {name!r} has no value; fill it in or remove the row")
        for text in dict.fromkeys(texts):
            numbers.setdefault(text, len(numbers))
        if len(numbers) > MAX_SERIES or len(numbers) * self._history.depth > MAX_LABELS:
            most = min(MAX_SERIES, MAX_LABELS // self._history.depth)
            raise InvalidData(
                f"{chunk.origin}: {name!r} has more than {most:,} different values, and the last "
                f"{self._history.depth:,} labels of each have to be remembered ({MAX_SERIES:,} series and "
                f"{MAX_LABELS:,} labels at most); give fewer series at a time, or lower data.lags, data.windows and "
                "data.season"
            )
        if len(numbers) > len(self._times):
            self._make_room(max(len(numbers), min(2 * len(self._times), MAX_SERIES)))
        return np.fromiter(map(numbers.__getitem__, texts), np.intp, chunk.rows)

    def _make_room(self, series: int) -> None:
        new = series - len(self._times)
        self._labels = np.concatenate([self._labels, np.full((new, self._history.depth), np.nan)])
        self._times = np.concatenate([self._times, np.full(new, -np.inf)])
        self._shown_times = np.concatenate([self._shown_times, np.full(new, None, object)])
        self._rows = np.concatenate([self._rows, np.zeros(new, np.intp)])

    def _check_order(self, chunk: Chunk, times: NDArray[np.float64], places: _Places) -> None:
        shown = chunk.column(self._history.time)[places.order]
        ordered = times[places.order]
        before, shown_before = np.roll(ordered, 1), np.roll(shown, 1).astype(object)
        before[places.first], shown_before[places.first] = self._times[places.series], self._shown_times[places.series]
        if (wrong := np.flatnonzero(ordered <= before)).size:
            place = wrong[places.order[wrong].argmin()]
            self._refuse_order(
                chunk, int(places.order[place]), shown_before[place], is_equal=bool(ordered[place] == before[place])
            )
        last = places.first + places.counts - 1
        self._times[places.series], self._shown_times[places.series] = ordered[last], shown[last]

    def _refuse_order(self, chunk: Chunk, row: int, before: object, *, is_equal: bool) -> None:
        time, series = self._history.time, self._history.series
        value, names = chunk.column(time)[row], _listed(self._history.names)
        of = f" for {series} {as_text(chunk.column(series)[row : row + 1])[0]!r}" if series else ""
        apart = "" if series else "; where the table holds several series, name their column in data.series_column"
        if is_equal:
            raise InvalidData(
                f"{chunk.place(row)}: {time!r} is {value!s} again{of}, but {names} can only be made of one row for "
                f"each moment; merge such rows{apart}"
            )
        raise InvalidData(
            f"{chunk.place(row)}: {time!r} is {value!s}, after {before!s} before it{of}, but {names} can only be made "
            f"of rows in the order of time; sort them by {time!r}{apart}"
        )


def _means(line: Column, rows: NDArray[np.intp], window: int) -> Column:
    """The mean of so many labels before each row; NaN where one is missing.

    Added up anew for each row, so that where a chunk ends changes no bit of it.
    """
    total = np.zeros(len(rows), np.float64)
    for lag in range(window, 0, -1):
        total += line[rows - lag]
    return total / window


def _read_labels(chunk: Chunk, history: History) -> Column:
    column = chunk.numbers.get(history.label, chunk.column(history.label))
    try:
        labels = as_numbers(column)
    except NotANumber as error:
        raise InvalidData(
            f"{chunk.place(error.row)}: {history.label!r} is {str(column[error.row])!r}, but has to be a number to "
            f"make {_listed(history.names)} of it"
        ) from error
    if labels.ndim > 1:
        raise InvalidData(
            f"{chunk.origin}: {history.label!r} holds arrays, but has to hold single numbers to make "
            f"{_listed(history.names)} of them"
        )
    if (infinite := np.isinf(labels)).any():
        place = chunk.place(int(infinite.argmax()))
        raise InvalidData(f"{place}: {history.label!r} is infinite; leave it empty where it is unknown")
    return labels


def _refuse_taken(columns: Sequence[str], history: History, *, source: str) -> None:
    if taken := [name for name in history.names if name in columns]:
        raise InvalidData(
            f"{source} has a column {taken[0]!r}, as the one is called that is made of earlier values of "
            f"{history.label!r}; rename it or remove it"
        )


def _refuse_absent(chunk: Chunk, history: History) -> None:
    if absent := [name for name in history.columns if name not in chunk.columns]:
        raise InvalidData(
            f"{chunk.origin} lacks {_listed(absent)}: the model takes {_listed(history.names)}, made of "
            f"{history.label!r} of earlier rows. Give {_listed(history.columns)} of the rows to score and of the "
            f"{history.depth:,} before them, in the order of {history.time!r}, with {history.label!r} empty where it "
            f"is unknown; or give {_listed(history.names)} as columns"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


_: tuple[type[Source], ...] = (HistoryRows, RowsToScore)
