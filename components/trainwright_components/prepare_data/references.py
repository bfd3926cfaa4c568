"""Large TFRecord sets stay where they are: choose the files of each split, and check that no value has to change."""

import logging
from dataclasses import replace

from trainwright_components.datasets.chunks import Source
from trainwright_components.datasets.profile import ColumnProfile, TableProfile
from trainwright_components.datasets.schema import WHOLE_DTYPES, Schema
from trainwright_components.prepare_data.given_files import files_by_split
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.prepare_data.splitters import WholeFilesSplitter

_log = logging.getLogger(__name__)


def choose_files(source: Source, settings: PrepareSettings) -> WholeFilesSplitter | None:
    """The files of each split when `source` is large enough to stay where it is; None when it is to be copied."""
    traits = source.traits
    if not traits.files or traits.size_bytes < settings.reference_above_mb << 20:
        return None
    if settings.key_column or settings.time_column or settings.split_column:
        _log.warning(
            "%s is copied: only whole files can stay where they are, and rows are split by a column", traits.name
        )
        return None
    given = files_by_split(source)
    needed = 1 + sum(1 for split in settings.fractions if split not in given)
    if len(given["train"]) < needed:
        _log.warning("%s is copied: whole files can stay where they are only if there are %d", traits.name, needed)
        return None
    return WholeFilesSplitter(settings.fractions, given, seed=settings.seed)


def stored_schema(schema: Schema, profile: TableProfile, *, is_expected: bool) -> Schema | None:
    """The schema under which the rows can be read as they are stored; None when a value would have to change.

    Class labels can stay when they are integers from 0; their names are then the numbers, without gaps.
    """
    label = schema.label
    if schema.weight and profile.columns[schema.weight].is_stored_whole:
        return None
    if any(not _is_stored(profile.columns[feature.name], feature.dtype) for feature in schema.features):
        return None
    if label is None:
        return schema
    if label.is_joined or label.separator:
        return None
    column = profile.columns[label.name]
    if label.kind != "class":
        return schema if column.is_stored_whole == (label.kind == "multilabel") else None
    if not column.is_stored_whole or column.min < 0:
        return None
    names = tuple(map(str, range(int(column.max) + 1)))
    if is_expected:
        return schema if label.class_names[: len(names)] == names else None
    return replace(schema, label=replace(label, class_names=names))


def _is_stored(column: ColumnProfile, dtype: str) -> bool:
    return dtype == "string" or column.is_stored_whole == (dtype in WHOLE_DTYPES)
