"""The rows to score: any source that prepare_data reads, or a prepared dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainwright_components.datasets.chunks import Chunk, Column, Source, SourceTraits
from trainwright_components.datasets.history import with_history
from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import SCHEMA_FILE, SPLITS, Label, Schema
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.datasets.sources.reading import KnownTable
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.storage.addresses import is_remote

_CHUNK_ROWS = 1_024


class PreparedRows:
    """The rows of a prepared dataset, of one split or of all; class labels have their names again."""

    def __init__(self, dataset: Path, *, split: str = "") -> None:
        self._dataset, self._schema = dataset, Schema.load(dataset)
        statistics = Statistics.load(dataset)
        if split:
            statistics.split(split)
        self._splits = (split,) if split else tuple(name for name in SPLITS if name in statistics.splits)

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        label = self._schema.label.columns if self._schema.label else ()
        return SourceTraits(
            name=self._dataset.name, columns=(*self._schema.feature_names, *label), identifiers=("split", *label)
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""
        for split in self._splits:
            first_row = 1
            for features, *rest in read_split(self._dataset, split).batch(_CHUNK_ROWS).as_numpy_iterator():
                columns = {name: self._readable(name, values) for name, values in features.items()}
                rows = len(next(iter(columns.values())))
                columns["split"] = np.full(rows, split, dtype=object)
                if self._schema.label:
                    columns |= self._labels(self._schema.label, rest[0])
                yield Chunk(columns=columns, origin=f"{self._dataset}/{split}", first_row=first_row)
                first_row += rows

    def _readable(self, name: str, values: Column) -> Column:
        if values.dtype != object or self._schema.feature(name).kind == "image":
            return values
        return np.array([value.decode("utf-8") for value in values.tolist()], dtype=object)

    def _labels(self, label: Label, values: Column) -> dict[str, Column]:
        if label.is_joined:
            return {name: values[:, place] for place, name in enumerate(label.columns)}
        return {label.name: np.array(label.class_names, dtype=object)[values] if label.class_names else values}


def open_rows(
    source: str, *, source_format: str, split: str, schema: Schema, dialect: DialectOptions | None = None
) -> Source:
    """The rows at `source`, which are read as those were that the model of `schema` was trained on.

    What `dialect` says of a text file comes before that.

    Raises:
        InvalidSetting: `split` is set for a source that has none, or nothing is there.
    """
    folder = Path(source).expanduser()
    if not is_remote(source) and (folder / SCHEMA_FILE).is_file():
        return PreparedRows(folder, split=split)
    if split:
        raise InvalidSetting(f"split {split!r} can be chosen from a prepared dataset only; {source!r} is none")
    values = ValueOptions(keeps_strays=True)  # the model's own schema says what is a number
    known = KnownTable.of_schema(schema)
    rows = open_source(
        source, format_name=source_format, setting="source_format", dialect=dialect, values=values, known=known
    )
    return with_history(rows, schema.history)


def check_needed(chunk: Chunk, needed: Sequence[str], kept: Sequence[str]) -> None:
    """The columns that the model takes, and those to keep, have to be there.

    Raises:
        InvalidData: The model's are not.
        InvalidSetting: Those to keep are not.
    """
    there = list(chunk.columns)
    if absent := [name for name in needed if name not in chunk.columns]:
        hint = did_you_mean(absent[0], there)
        raise InvalidData(f"{chunk.origin} lacks columns that the model takes: {', '.join(absent)}{hint}")
    for name in kept:
        if name not in chunk.columns:
            raise InvalidSetting(f"keep_columns names {name!r}, which {chunk.origin} lacks{did_you_mean(name, there)}")


def batches(chunk: Chunk, size: int) -> Iterator[Chunk]:
    """`chunk` in pieces of at most `size` rows."""
    for start in range(0, chunk.rows, size):
        yield replace(chunk.taking(slice(start, start + size)), first_row=chunk.first_row + start)


_: type[Source] = PreparedRows
