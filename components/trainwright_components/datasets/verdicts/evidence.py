"""What is known of a table when it is judged: the counts of all rows, and a sample of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, NotANumber, as_numbers, as_text, is_missing
from trainwright_components.datasets.hashing import FractionOf
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.joined_labels import class_text
from trainwright_components.datasets.profile import ColumnProfile, TableProfile
from trainwright_components.datasets.schema import Label, Schema
from trainwright_components.datasets.verdicts.given import Given
from trainwright_components.datasets.verdicts.sample import EqualRowCounts, EqualRows, RowSample


class Values:
    """One column: the profile of all its rows, and its values in the sample.

    Args:
        column: `(rows,)` of the sample.
        rows: The numbers of these rows in their files, in the order of the table.
    """

    def __init__(self, name: str, profile: ColumnProfile, column: Column, rows: NDArray[np.int64]) -> None:
        self.name, self.profile, self.column, self.row_numbers = name, profile, column, rows

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Which rows have a value."""
        return ~is_missing(self.column)

    @cached_property
    def texts(self) -> Column:
        """The values as text; the empty string where one is missing."""
        return np.where(self.present, np.array(as_text(self.column), dtype=object), "")

    @cached_property
    def numbers(self) -> NDArray[np.float64] | None:
        """The values as numbers, NaN where one is missing; None when they are texts."""
        if not self.profile.is_numeric or self.profile.shape or self.profile.loses_digits:
            return None
        try:
            return np.asarray(as_numbers(self.column), np.float64)
        except NotANumber:
            return None

    @cached_property
    def codes(self) -> NDArray[np.intp]:
        """A number for each different value; 0 for missing ones."""
        codes, _ = pd.factorize(self.texts if self.column.dtype == object else self.column)
        return np.where(self.present, codes + 1, 0)

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """How often each value occurs in the sample, of those that do."""
        counts = np.bincount(self.codes)[1:]
        return counts[counts > 0]

    @property
    def distinct(self) -> int:
        """How many different values there are: of all rows where that is known, else in the sample."""
        return len(self.profile.values) if self.profile.values is not None else len(self.counts)

    @property
    def is_unique(self) -> bool:
        """Whether all rows have values, and none occurs twice."""
        values = self.profile.values
        known = values is None or len(values) == self.profile.rows
        return known and not self.profile.missing and len(self.counts) == len(self.codes)

    @property
    def is_judged(self) -> bool:
        """Whether it is a column of single values, of which there are some."""
        return self.profile.shape == () and not self.profile.is_bytes


@dataclass(frozen=True, kw_only=True)
class SplitDrift:
    """How one column of one split differs from the training rows.

    Args:
        distance: From 0 to 1: of numbers the Kolmogorov-Smirnov statistic, of texts the total variation distance.
        chance: How probable that or more is between two samples of one distribution, about.
    """

    column: str
    split: str
    distance: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known.

    Args:
        rows: Of the table, as far as it was read.
        columns: Those that could be features.
        label: The column to predict; none where there are several.
        labels: The columns to predict where there are several.
        schema: What was found; absent while that is not settled.
        left_out: Columns that are not features since a verdict says so.
        equal: How many rows are alike; absent when that is not known.
        unlabeled: Rows that were dropped, since they have no label.
        drift: How the splits differ.
        train_rows: How many rows are trained on.
    """

    rows: int
    columns: Mapping[str, Values]
    label: Values | None = None
    labels: Mapping[str, Values] = field(default_factory=dict)
    schema: Schema | None = None
    given: Given = field(default_factory=Given)
    left_out: tuple[str, ...] = ()
    equal: EqualRowCounts | None = None
    unlabeled: int = 0
    drift: tuple[SplitDrift, ...] = ()
    train_rows: int = 0

    @property
    def of_each_label(self) -> tuple["Evidence", ...]:
        """What is known of each label alone, as if there were no other."""
        if not self.labels or self.schema is None or self.schema.label is None:
            return (self,)
        is_multilabel = self.schema.label.kind == "multilabel"
        made = []
        for name, values in self.labels.items():
            answers = tuple(sorted(values.profile.values or ()))
            label = Label(name=name, kind="class", dtype="int64", class_names=answers)
            if not is_multilabel:
                label = Label(name=name, kind="number", dtype="float32")
            made.append(replace(self, label=values, labels={}, schema=replace(self.schema, label=label)))
        return tuple(made)

    @property
    def features(self) -> Mapping[str, Values]:
        """The columns that are features."""
        return {name: values for name, values in self.columns.items() if name not in self.left_out}

    @property
    def has_texts(self) -> bool:
        """Whether numbers come as texts, which are read as the settings say."""
        return any(each.numbers is not None and each.column.dtype == object for each in self.columns.values())

    @property
    def has_classes(self) -> bool:
        """Whether the label is a class."""
        return bool(self.schema and self.schema.class_names)

    @cached_property
    def classes(self) -> NDArray[np.intp] | None:
        """The class of each row of the sample, as the place in the schema's names; None without classes."""
        if self.label is None or self.schema is None or not self.has_classes:
            return None
        places = {name: place for place, name in enumerate(self.schema.class_names)}
        texts, inverse = np.unique(self.label.texts.astype(str), return_inverse=True)
        known = [places.get(text, places.get(class_text(text), 0)) for text in texts.tolist()]
        return np.array(known, np.intp)[inverse]

    @cached_property
    def targets(self) -> NDArray[np.float64] | None:
        """The number to predict in each row of the sample; None where the label is a class."""
        return None if self.label is None or self.has_classes else self.label.numbers

    @cached_property
    def class_counts(self) -> Mapping[str, int]:
        """How many rows each class has."""
        counts: dict[str, int] = {}
        if self.label is not None and self.schema is not None:
            names = set(self.schema.class_names)
            for text, count in (self.label.profile.values or {}).items():
                name = text if text in names else class_text(text)
                counts[name] = counts.get(name, 0) + count
        return counts


def look_at_rows(
    chunks: Iterable[Chunk], roles: Roles, given: Given, fraction_of: FractionOf, *, max_rows: int | None = None
) -> tuple[TableProfile, Evidence]:
    """What all rows are, or about the first `max_rows`, and what is known for verdicts.

    Equal features have equal numbers by `fraction_of`.
    """
    profile, sample, equal = TableProfile(), RowSample(), EqualRows(label=roles.label)
    for chunk in chunks:
        profile.add(chunk)
        sample.add(chunk)
        equal.add(chunk, fraction_of(chunk))
        if max_rows is not None and profile.rows >= max_rows:
            break
    numbers, columns = sample.result()
    values = {name: Values(name, profile.columns[name], column, numbers) for name, column in columns.items()}
    others = {*roles.label_columns, roles.weight, *roles.exclude}
    evidence = Evidence(
        rows=profile.rows,
        columns={name: each for name, each in values.items() if name not in others and each.is_judged},
        label=values.get(roles.label),
        labels={name: values[name] for name in roles.labels},
        given=given,
        left_out=tuple(roles.left_out),
        equal=equal.result(),
    )
    return profile, evidence
