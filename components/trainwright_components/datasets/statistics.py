"""Numbers about a dataset's columns, per split. Reads and writes statistics.json; imports no TensorFlow."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import FORMAT_VERSION, read_dataset_file
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import write_whole
from trainwright_components.hints import did_you_mean

STATISTICS_FILE = "statistics.json"


@dataclass(frozen=True, kw_only=True)
class ColumnStatistics:
    """One column of one split. The numbers are absent (None) where they make no sense or every value is missing.

    Args:
        count: Rows with a value; `count + missing` is the number of rows.
        mean: Over all elements of all rows, as `std` (of the population), `min` and `max`; of a text its length.
        quantiles: Keys `0.05`, `0.25`, `0.5`, `0.75`, `0.95`; from a sample where the split is large.
        histogram_edges: One more than `histogram_counts`, whose sum is the size of the sample.
        distinct: How many different strings or classes there are; None for numbers.
        values: The most frequent strings or classes with their counts, most frequent first.
        days: `mean` and `std` of the days since 1970-01-01 where every string is a date of one order; else empty.
        date_order: This order, of `dates.DATE_ORDERS`; empty where strings are no dates, or 1/2/2018 has two meanings.
        words: Of texts, the words that most texts hold, with in how many each is.
    """

    count: int
    missing: int = 0
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    histogram_edges: tuple[float, ...] = ()
    histogram_counts: tuple[int, ...] = ()
    distinct: int | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)
    days: Mapping[str, float] = field(default_factory=dict)
    date_order: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """All columns of one split: features, label and weight by name."""

    rows: int
    columns: Mapping[str, ColumnStatistics]

    def column(self, name: str) -> ColumnStatistics:
        """The numbers of the column `name`."""
        if name not in self.columns:
            raise InvalidSetting(f"no column is called {name!r}{did_you_mean(name, tuple(self.columns))}")
        return self.columns[name]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The numbers of every split.

    Args:
        unlabeled: Rows that are in none, since they have no label.
    """

    splits: Mapping[str, SplitStatistics]
    unlabeled: int = 0

    def split(self, name: str) -> SplitStatistics:
        """The numbers of the split `name`."""
        if name not in self.splits:
            raise InvalidSetting(f"the dataset has no split {name!r}{did_you_mean(name, tuple(self.splits))}")
        return self.splits[name]

    def to_json(self) -> str:
        """The statistics as the text of a statistics.json."""
        return json.dumps({"version": FORMAT_VERSION, **asdict(self)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Statistics":
        """The statistics that `text` holds."""
        try:
            content = json.loads(text)
            splits = {name: _split_from(split) for name, split in content["splits"].items()}
            return cls(splits=splits, unlabeled=content.get("unlabeled", 0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidData(f"not statistics: {type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, dataset: Path) -> "Statistics":
        """The statistics in the folder `dataset`."""
        return cls.from_json(read_dataset_file(dataset, STATISTICS_FILE))

    def save(self, dataset: Path) -> None:
        """Write statistics.json into the folder `dataset`."""
        write_whole(dataset / STATISTICS_FILE, self.to_json())


def _split_from(content: Mapping[str, Any]) -> SplitStatistics:
    columns = {name: _column_from(column) for name, column in content["columns"].items()}
    return SplitStatistics(rows=content["rows"], columns=columns)


def _column_from(content: Mapping[str, Any]) -> ColumnStatistics:
    tuples = {name: tuple(content[name]) for name in ("histogram_edges", "histogram_counts")}
    return ColumnStatistics(**{**content, **tuples})
