"""Choose the way to split that the settings ask for, and refuse splits that cannot be."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, SourceTraits, as_text
from trainwright_components.datasets.schema import SPLITS, suggest
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.hashing import key_fractions, row_fractions
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.prepare_data.splitters import (
    GivenSplitter,
    HashSplitter,
    Names,
    Splitter,
    StratifiedSplitter,
    TimeSplitter,
    WholeFilesSplitter,
)

_SYNONYMS = {
    "train": ("train", "training", "fit"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing", "holdout"),
}
_SPLIT_OF_NAME = {name: split for split, names in _SYNONYMS.items() for name in names}


def choose_splitter(settings: PrepareSettings, traits: SourceTraits, *, label: str) -> Splitter:
    """The way to split that `settings` ask for; by classes when `label` names a column that may hold classes."""
    fractions = settings.fractions

    def by_row(chunk: Chunk) -> NDArray[np.float64]:
        return row_fractions(chunk, seed=settings.seed, ignored=traits.identifiers)

    if settings.key_column:
        return HashSplitter(fractions, lambda chunk: key_fractions(chunk, settings.key_column, seed=settings.seed))
    if settings.time_column:
        return TimeSplitter(fractions, settings.time_column)
    if settings.split_column:
        return GivenSplitter(fractions, by_row, lambda chunk: _named_splits(chunk, settings.split_column))
    if traits.is_split:
        return GivenSplitter(fractions, by_row, lambda chunk: np.full(chunk.rows, chunk.split, dtype=object))
    if settings.stratify and label and settings.task != "regression":
        return StratifiedSplitter(fractions, by_row, label)
    return HashSplitter(fractions, by_row)


def describe_split(settings: PrepareSettings, splitter: Splitter) -> str:
    """One sentence on how the rows were split, for people."""
    if isinstance(splitter, WholeFilesSplitter):
        return "Whole files were split by a stable hash of their names, or as given."
    if isinstance(splitter, StratifiedSplitter):
        return "Rows were split by a stable hash of the row, with the same shares in each class."
    if isinstance(splitter, TimeSplitter):
        return f"Rows were split by time: the latest by {settings.time_column!r} are the test."
    if isinstance(splitter, GivenSplitter):
        by = f"the column {settings.split_column!r}" if settings.split_column else "the source"
        return f"Rows were split as {by} says."
    by = f"of {settings.key_column!r}, so that one key stays together" if settings.key_column else "of the row"
    return f"Rows were split by a stable hash {by}."


def check_split_columns(settings: PrepareSettings, columns: Sequence[str], *, source: str) -> None:
    """The columns to split by have to be there.

    Raises:
        InvalidSetting: One is not.
    """
    for setting in ("key_column", "time_column", "split_column"):
        name = getattr(settings, setting)
        if name and name not in columns:
            hint = suggest(name, list(columns))
            raise InvalidSetting(f"{setting} names the column {name!r}, which {source} lacks{hint}")


def refuse_empty_splits(rows: Mapping[str, int], settings: PrepareSettings) -> None:
    """Every wanted split needs a row.

    Raises:
        InvalidData: One has none.
    """
    for split in SPLITS:
        if rows.get(split) or (split not in rows and split != "train"):
            continue
        counts = ", ".join(f"{name}: {count:,}" for name, count in rows.items())
        if split == "train":
            raise InvalidData(f"the train split is empty ({counts}); leave rows to it: lower the other fractions")
        way = next((name for name in ("key_column", "time_column", "split_column") if getattr(settings, name)), "")
        by = f" by {way} {getattr(settings, way)!r}" if way else ""
        raise InvalidData(
            f"the {split} split{by} is empty ({counts}); give more rows, raise {split}_fraction above "
            f"{settings.fractions.get(split, 0)}, or set it to 0 to do without"
        )


def _named_splits(chunk: Chunk, column: str) -> Names:
    texts = [text.strip() for text in as_text(chunk.column(column))]
    names = np.array([_SPLIT_OF_NAME.get(text.lower()) for text in texts], dtype=object)
    if None in names:
        row = names.tolist().index(None)
        hint = suggest(texts[row], tuple(_SPLIT_OF_NAME)) if texts[row] else "; fill it in"
        raise InvalidData(
            f"{chunk.place(row)}: split_column {column!r} must hold {', '.join(SPLITS)}, got {texts[row]!r}{hint}"
        )
    return names
