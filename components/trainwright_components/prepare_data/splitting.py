"""Choose the way to split that the settings ask for, and refuse splits that cannot be."""

import io
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.accumulate import NumberCounts
from trainwright_components.datasets.chunks import Chunk, SourceTraits, as_text
from trainwright_components.datasets.hashing import FractionOf, PositionFractions, key_fractions, row_fractions
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.schema import SPLITS
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.prepare_data.splitters import (
    GivenSplitter,
    HashSplitter,
    Names,
    RowSplitter,
    RowWay,
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
_TRAINED_ON = "Equal rows are therefore in several splits, and the test asks about rows that were trained on."
_SPLIT_OF_NAME = {name: split for split, names in _SYNONYMS.items() for name in names}


def choose_splitter(
    settings: PrepareSettings, traits: SourceTraits, roles: Roles, by_content: FractionOf
) -> Splitter | RowSplitter:
    """The way to split that `settings` ask for; by classes when the label may hold classes.

    Equal features have equal numbers by `by_content`.
    """
    fractions = settings.fractions
    if settings.key_column:
        return HashSplitter(fractions, lambda chunk: key_fractions(chunk, settings.key_column, seed=settings.seed))
    if settings.time_column:
        return TimeSplitter(fractions, settings.time_column)
    return RowSplitter(
        by_content=_by_row(settings, traits, roles, by_content, NumberCounts()),
        by_position=_by_row(settings, traits, roles, PositionFractions(seed=settings.seed)),
        content_of=by_content,
    )


def _by_row(
    settings: PrepareSettings,
    traits: SourceTraits,
    roles: Roles,
    fraction_of: FractionOf,
    counts: NumberCounts | None = None,
) -> RowWay:
    fractions = settings.fractions
    if settings.split_column:
        return GivenSplitter(
            fractions, fraction_of, lambda chunk: _named_splits(chunk, settings.split_column), counts=counts
        )
    if traits.is_split:
        return GivenSplitter(
            fractions, fraction_of, lambda chunk: np.full(chunk.rows, chunk.split, dtype=object), counts=counts
        )
    if settings.stratify and roles.label and settings.task != "regression":
        return StratifiedSplitter(fractions, fraction_of, roles.label, counts=counts)
    return HashSplitter(fractions, fraction_of, counts=counts)


class RowFractions:
    """The numbers that equal features share, for all who ask in the first pass and again in the second.

    They cost more than reading them again from a file, which holds 8 bytes a row and has no name to be left behind.
    """

    def __init__(self, roles: Roles, *, seed: int) -> None:
        self._ignored, self._seed = roles.others, seed
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as this object
        weakref.finalize(self, self._file.close)
        self._places: dict[tuple[str, str, int], int] = {}
        self._last: Callable[[], Chunk | None] = lambda: None
        self._numbers = np.empty(0, np.float64)

    def __call__(self, chunk: Chunk) -> NDArray[np.float64]:
        if self._last() is not chunk:
            self._last, self._numbers = weakref.ref(chunk), self._find(chunk)
        return self._numbers

    def _find(self, chunk: Chunk) -> NDArray[np.float64]:
        place = (chunk.origin, chunk.split, chunk.first_row)
        if place in self._places:
            self._file.seek(self._places[place])
            return np.frombuffer(self._file.read(8 * chunk.rows), np.float64)
        numbers = row_fractions(chunk, seed=self._seed, ignored=self._ignored)
        self._places[place] = self._file.seek(0, io.SEEK_END)
        self._file.write(numbers.tobytes())
        return numbers


def describe_split(settings: PrepareSettings, splitter: Splitter, *, repeats: str = "") -> str:
    """How the rows were split, for people; `repeats` as `describe_repeats` tells."""
    if isinstance(splitter, WholeFilesSplitter):
        return "Whole files were split by a stable hash of their names, or as given."
    if isinstance(splitter, TimeSplitter):
        return f"Rows were split by time: the latest by {settings.time_column!r} are the test."
    of = "their position" if repeats.endswith(_TRAINED_ON) else "their features"
    if isinstance(splitter, StratifiedSplitter):
        return f"Rows were split by a stable hash of {of}, with the same shares in each class.{repeats}"
    if isinstance(splitter, GivenSplitter):
        by = f"the column {settings.split_column!r}" if settings.split_column else "the source"
        if splitter.open_splits:
            taken = " and ".join(splitter.open_splits)
            return f"Rows were split as {by} says; {taken} by a stable hash of {of}, out of the training rows.{repeats}"
        return f"Rows were split as {by} says."
    by = f"of {settings.key_column!r}, so that one key stays together" if settings.key_column else f"of {of}"
    return f"Rows were split by a stable hash {by}.{repeats}"


def describe_repeats(rows: RowSplitter, chosen: RowWay) -> str:
    """What rows that repeat did to the split; empty for nothing."""
    if rows.most_repeat:
        return (
            f" More than half repeat another row's features: of {rows.rows:,} rows {rows.different_rows:,} differ, "
            f"too few to share out. {_TRAINED_ON}"
        )
    if rows.is_by_position:
        return (
            f" Some rows occur so often that the shares come out only when their copies are shared out. {_TRAINED_ON}"
        )
    if count := len(chosen.repeats.heavy):
        which = "the most frequent row" if count == 1 else f"the {count:,} most frequent rows"
        share = int(chosen.repeats.heavy_rows.sum()) / rows.rows
        return f" All copies of {which} ({share:.1%} of the rows) are for training."
    return ""


def check_split_columns(settings: PrepareSettings, columns: Sequence[str], *, source: str) -> None:
    """The columns to split by have to be there.

    Raises:
        InvalidSetting: One is not.
    """
    for setting in ("key_column", "time_column", "split_column"):
        name = getattr(settings, setting)
        if name and name not in columns:
            hint = did_you_mean(name, list(columns))
            raise InvalidSetting(f"data.{setting} names the column {name!r}, which {source} lacks{hint}")


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
            f"the {split} split{by} is empty ({counts}); give more rows, raise data.{split}_fraction above "
            f"{settings.fractions.get(split, 0)}, or set it to 0 to do without"
        )


def _named_splits(chunk: Chunk, column: str) -> Names:
    texts = [text.strip() for text in as_text(chunk.column(column))]
    names = np.array([_SPLIT_OF_NAME.get(text.lower()) for text in texts], dtype=object)
    if None in names:
        row = names.tolist().index(None)
        hint = did_you_mean(texts[row], tuple(_SPLIT_OF_NAME)) if texts[row] else "; fill it in"
        raise InvalidData(
            f"{chunk.place(row)}: data.split_column {column!r} must hold {', '.join(SPLITS)}, got {texts[row]!r}{hint}"
        )
    return names
