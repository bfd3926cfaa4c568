"""From what the columns of a source hold to a schema: kinds, vocabularies, class names."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainwright_components.datasets.joined_labels import class_text, join_columns, label_of_texts, label_of_vectors
from trainwright_components.datasets.profile import DISTINCT_LIMIT, ColumnProfile, TableProfile
from trainwright_components.datasets.schema import FEATURE_KINDS, WHOLE_DTYPES, Feature, Label, Schema
from trainwright_components.datasets.sources.image_folder import IMAGE_SUFFIXES
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean

MAX_NUMBERED_CLASSES = 20
_FREE_TEXT_DISTINCT = 50

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns are for.

    Args:
        label: The column to predict; empty for none.
        labels: The columns to predict together, instead of `label`.
        label_separator: What stands between several labels in the texts of `label`.
        task: `auto`, `classification`, `multilabel`, `regression` or `none`; `auto` takes texts and up to
            `MAX_NUMBERED_CLASSES` integers for classes, and several columns of 0 and 1 for multilabel.
        weight: The column with the weight of each row; empty for none.
        exclude: Columns that are not features: keys, times, identifiers.
        left_out: Columns that are not features since they name or count the rows, as a verdict says.
        kinds: The kind of a column where the values do not tell: `{"zip": "categorical"}`.
    """

    label: str = ""
    labels: tuple[str, ...] = ()
    label_separator: str = ""
    task: str = "auto"
    weight: str = ""
    exclude: Collection[str] = ()
    left_out: Collection[str] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns to predict."""
        return self.labels or ((self.label,) if self.label else ())

    @property
    def others(self) -> frozenset[str]:
        """The columns that are no features."""
        return frozenset({*self.label_columns, self.weight, *self.exclude, *self.left_out})


def infer_schema(profile: TableProfile, roles: Roles, *, source: str) -> Schema:
    """The schema of the rows that `profile` saw.

    Raises:
        InvalidSetting: A role names a column that is not there.
        InvalidData: The values contradict their role: a class with one example, a label without a value.
    """
    if not profile.rows:
        raise InvalidData(f"{source} holds no rows")
    check_columns(tuple(profile.columns), roles, source=source)
    others = roles.others
    features = [
        feature
        for name, column in profile.columns.items()
        if name not in others and (feature := infer_feature(name, column, roles.kinds.get(name, ""), source=source))
    ]
    if not features:
        raise InvalidData(f"{source} has no column left that could be a feature")
    label = _infer_labels(profile, roles, source=source) if roles.label_columns else None
    if roles.weight:
        _check_weight(roles.weight, profile.columns[roles.weight])
    weight, left_out = roles.weight or None, tuple(roles.left_out)
    return Schema(features=tuple(features), label=label, weight=weight, left_out=left_out)


def check_columns(columns: Sequence[str], roles: Roles, *, source: str) -> None:
    """Every column that `roles` names has to be there.

    Raises:
        InvalidSetting: One is not, or its kind is unknown.
    """
    named: Iterable[tuple[str, str]] = (
        ("label", roles.label),
        *(("data.labels", name) for name in roles.labels),
        ("data.weight_column", roles.weight),
        *(("data.exclude", name) for name in roles.exclude),
        *(("data.kinds", name) for name in roles.kinds),
    )
    for setting, name in named:
        if name and name not in columns:
            hint = did_you_mean(name, list(columns))
            if len(columns) == 1:
                hint = f"; each row has one column, {columns[0]!r}; data.delimiter says what stands between columns"
            raise InvalidSetting(f"{setting} names the column {name!r}, which {source} lacks{hint}")
    check_kinds(roles.kinds)


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raise `InvalidSetting` for a kind that there is not."""
    for name, kind in kinds.items():
        if kind not in FEATURE_KINDS:
            raise InvalidSetting(f"data.kinds: {name!r} cannot be {kind!r}{did_you_mean(kind, FEATURE_KINDS)}")


def infer_feature(name: str, column: ColumnProfile, kind: str, *, source: str) -> Feature | None:
    """The feature that `column` makes, of `kind` if given; none when no row has a value."""
    if column.shape is None:
        _log.warning("column %r of %s has no value in any row; it is left out", name, source)
        return None
    if column.first_infinite:
        raise InvalidData(f"{column.first_infinite}: column {name!r} is infinite; leave it empty where it is unknown")
    if not kind and _names_with_digits(column):
        _log.warning(
            "column %r of %s holds integers of so many digits that different ones are the same float: they are taken "
            "for names, not for quantities; data.kinds says otherwise",
            name,
            source,
        )
    kind = kind or _kind_of(column)
    if kind == "numeric" and not column.is_numeric:
        place, text = column.not_a_number or (source, "bytes")
        raise InvalidData(f"{place}: column {name!r} holds {text!r}, but data.kinds says that it is numeric")
    if kind == "numeric" or (kind == "image" and column.is_numeric):
        return Feature(name=name, kind=kind, dtype=_number_dtype(name, column, source), shape=column.shape)
    if column.shape:
        raise InvalidData(f"column {name!r} of {source} holds arrays; it can be numeric or image, not {kind}")
    if kind == "categorical":
        return Feature(name=name, kind=kind, dtype="string", vocabulary=_vocabulary(name, column))
    return Feature(name=name, kind=kind, dtype="string")


def _number_dtype(name: str, column: ColumnProfile, source: str) -> str:
    """The width that the numbers have, or the next that a schema knows; float32 for what is not kept whole."""
    if not column.is_stored_whole or column.missing or column.stored_dtype is None:
        return "float32"
    if column.stored_dtype == np.uint64 and column.max < 2**63:
        return "int64"
    for dtype in WHOLE_DTYPES:
        if np.can_cast(column.stored_dtype, dtype):
            return dtype
    _log.warning(
        "column %r of %s holds integers up to %.4g, beyond int64; it becomes float32, which keeps about 7 digits. "
        "If they are identifiers, exclude the column or store it as strings",
        name,
        source,
        column.max,
    )
    return "float32"


def _infer_labels(profile: TableProfile, roles: Roles, *, source: str) -> Label:
    if not roles.labels:
        return infer_label(roles.label, profile.columns[roles.label], roles, source=source)
    columns = {name: profile.columns[name] for name in roles.labels}
    for name, column in columns.items():
        _refuse_missing(name, column)
    return join_columns(columns, taken=tuple(profile.columns), task=roles.task, source=source)


def _refuse_missing(name: str, column: ColumnProfile) -> None:
    if column.missing:
        raise InvalidData(
            f"{column.first_missing}: label {name!r} has no value ({column.missing:,} of {column.rows:,} rows); "
            "fill it in, or say data.drop_unlabeled=true to leave such rows out"
        )


def infer_label(name: str, column: ColumnProfile, roles: Roles, *, source: str) -> Label:
    """The label that `column` makes.

    Raises:
        InvalidData: It has missing values, one class only, a class with one example, or is not a number in regression.
    """
    if roles.label_separator:
        return label_of_texts(name, column, roles.label_separator)
    _refuse_missing(name, column)
    if roles.task == "multilabel":
        return label_of_vectors(name, column, source=source)
    if roles.task == "classification" or (roles.task == "auto" and _looks_like_classes(column)):
        return Label(name=name, kind="class", dtype="int64", class_names=_class_names(name, column))
    if not column.is_numeric:
        place, text = column.not_a_number or (source, "bytes")
        raise InvalidData(f"{place}: label {name!r} holds {text!r}, but data.task=regression needs numbers")
    if column.first_infinite:
        raise InvalidData(f"{column.first_infinite}: label {name!r} is infinite; remove the row")
    if not column.shape and column.min == column.max:
        raise InvalidData(f"label {name!r} is {column.min:g} in all rows; there is nothing to learn")
    return Label(name=name, kind="number", dtype="float32", shape=column.shape or ())


def _kind_of(column: ColumnProfile) -> str:
    if column.is_bytes:
        return "image"
    if column.is_numeric and not _names_with_digits(column):
        return "numeric"
    values = column.values
    if values is None:
        return "text"
    if all(value.lower().endswith(IMAGE_SUFFIXES) for value in values if value):
        return "image"
    is_free = len(values) > _FREE_TEXT_DISTINCT and len(values) > (column.rows - column.missing) / 2
    return "text" if is_free else "categorical"


def _names_with_digits(column: ColumnProfile) -> bool:
    """Whether these are integers that no numbers of a schema tell apart."""
    is_kept = column.is_stored_whole and not column.missing and column.max < 2**63
    return column.loses_digits and not is_kept


def _vocabulary(name: str, column: ColumnProfile) -> tuple[str, ...]:
    if column.values is None:
        raise InvalidData(
            f"column {name!r} has more than {DISTINCT_LIMIT:,} different values; make it text or numeric with "
            "data.kinds, or leave it out with data.exclude"
        )
    return tuple(sorted(column.values))


def _looks_like_classes(column: ColumnProfile) -> bool:
    if column.shape:
        return False
    if not column.is_numeric or column.is_bool or column.loses_digits:
        return True
    return column.is_whole and column.values is not None and len(column.values) <= MAX_NUMBERED_CLASSES


def _class_names(name: str, column: ColumnProfile) -> tuple[str, ...]:
    if column.values is None:
        what = "arrays" if column.shape else f"more than {DISTINCT_LIMIT:,} different values"
        raise InvalidData(
            f"label {name!r} has {what}, which cannot be classes; set data.task=regression, or another label"
        )
    counts: dict[str, int] = {}
    for text, count in column.values.items():
        key = class_text(text) if column.is_whole and not column.is_bool else text
        counts[key] = counts.get(key, 0) + count
    if len(counts) < 2:
        raise InvalidData(
            f"label {name!r} has the one value {next(iter(counts))!r} in all rows; there is nothing to learn"
        )
    if single := sorted(text for text, count in counts.items() if count == 1):
        listing = ", ".join(map(repr, single[:10])) + (f" and {len(single) - 10} more" if len(single) > 10 else "")
        hint = "; if it is a quantity, set data.task=regression" if column.is_numeric else ""
        if len(single) > len(counts) / 2 and len(counts) > MAX_NUMBERED_CLASSES:
            raise InvalidData(
                f"label {name!r} has {len(counts):,} different values in {column.rows:,} rows, and {len(single):,} of "
                f"them stand in one row only, such as {single[0]!r}: these are no classes"
                f"{hint or '; name another label'}"
            )
        which = "class" if len(single) == 1 else "each of the classes"
        raise InvalidData(
            f"label {name!r}: {which} {listing} has one example, which "
            f"cannot be in training and test both; add examples, merge classes or remove such rows{hint}"
        )
    if column.is_whole and not column.is_bool:
        return tuple(sorted(sorted(counts), key=float))
    return tuple(sorted(counts))


def _check_weight(name: str, column: ColumnProfile) -> None:
    if not column.is_numeric or column.shape:
        place, text = column.not_a_number or ("the first row", "an array")
        raise InvalidData(f"{place}: data.weight_column {name!r} must hold numbers, got {text!r}")
    if column.missing:
        raise InvalidData(f"{column.first_missing}: data.weight_column {name!r} has no value; give every row a weight")
    if column.min < 0 or column.first_infinite:
        raise InvalidData(
            f"data.weight_column {name!r} must be at least 0 and finite; its smallest value is {column.min:g}"
        )
