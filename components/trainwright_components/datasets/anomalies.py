"""Compare rows with the schema they should have; what differs makes a table."""

from collections.abc import Collection
from dataclasses import dataclass

from trainwright_components.datasets.joined_labels import class_text, unknown_answers
from trainwright_components.datasets.profile import DISTINCT_LIMIT, ColumnProfile, TableProfile
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidData

_LISTED_VALUES = 5


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """One difference: a column, what the schema says, what the rows hold."""

    column: str
    expected: str
    found: str


def find_anomalies(profile: TableProfile, schema: Schema, *, ignored: Collection[str] = ()) -> list[Anomaly]:
    """Everything in which the rows differ from `schema`; columns in `ignored` may be there or not."""
    found: list[Anomaly] = []
    for feature in schema.features:
        found += _compare_feature(feature, profile.columns.get(feature.name))
    if schema.label:
        for name in schema.label.columns:
            found += _compare_label(schema.label, name, profile.columns.get(name))
    if schema.weight and schema.weight not in profile.columns:
        found.append(Anomaly(column=schema.weight, expected="weights", found="no such column"))
    labels = schema.label.columns if schema.label else ()
    known = {*schema.column_names, *labels, *schema.left_out, *ignored}
    found += [
        Anomaly(column=name, expected="no such column", found=_describe(column))
        for name, column in profile.columns.items()
        if name not in known
    ]
    return found


def refuse_anomalies(anomalies: list[Anomaly], *, source: str) -> None:
    """Stop when there are any.

    Raises:
        InvalidData: With a table of all of them.
    """
    if not anomalies:
        return
    rows = [("column", "expected", "found"), *((item.column, item.expected, item.found) for item in anomalies)]
    widths = [max(len(row[number]) for row in rows) for number in range(2)]
    table = "\n".join(f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows)
    count = "one difference" if len(anomalies) == 1 else f"{len(anomalies)} differences"
    raise InvalidData(
        f"{source} does not fit the expected schema, {count}:\n{table}\n"
        "Correct the data, exclude new columns, or prepare without data.expected_schema to accept the change."
    )


def _compare_feature(feature: Feature, column: ColumnProfile | None) -> list[Anomaly]:
    expected = f"{feature.kind} {feature.dtype}{list(feature.shape) if feature.shape else ''}"
    if column is None or column.shape is None:
        return [Anomaly(column=feature.name, expected=expected, found=_describe(column))]
    if feature.dtype != "string":
        return _compare_numbers(feature, column, expected)
    if column.shape or column.is_bytes != (feature.kind == "image" and column.is_bytes):
        return [Anomaly(column=feature.name, expected=expected, found=_describe(column))]
    if feature.kind == "categorical":
        if column.values is None:
            return [Anomaly(column=feature.name, expected=expected, found=_describe(column))]
        return _new_values(feature.name, column.values, feature.vocabulary, what="values")
    return []


def _compare_numbers(feature: Feature, column: ColumnProfile, expected: str) -> list[Anomaly]:
    if not column.is_numeric or column.shape != feature.shape or column.first_infinite:
        return [Anomaly(column=feature.name, expected=expected, found=_describe(column))]
    if feature.is_whole and (not column.is_whole or column.missing):
        return [Anomaly(column=feature.name, expected=expected, found=_describe(column))]
    if feature.is_whole and not (feature.whole_range[0] <= column.min <= column.max <= feature.whole_range[1]):
        return [Anomaly(column=feature.name, expected=expected, found=f"{column.min:g} to {column.max:g}")]
    return []


def _compare_label(label: Label, name: str, column: ColumnProfile | None) -> list[Anomaly]:
    expected = f"label, {label.kind}"
    if column is None or column.shape is None or (column.missing and not label.separator):
        return [Anomaly(column=name, expected=expected, found=_describe(column))]
    if label.kind == "multilabel":
        unknown = unknown_answers(column, label)
        return [Anomaly(column=name, expected=expected, found=f"new: {unknown[0]!r}")] if unknown else []
    if label.kind == "number":
        is_fit = column.is_numeric and column.shape == (() if label.is_joined else label.shape)
        return [] if is_fit else [Anomaly(column=name, expected=expected, found=_describe(column))]
    if column.values is None:
        return [Anomaly(column=label.name, expected=expected, found=_describe(column))]
    unknown = [value for value in column.values if value not in label.class_names]
    return _new_values(label.name, [class_text(value) for value in unknown], label.class_names, what="classes")


def _new_values(name: str, values: Collection[str], known: tuple[str, ...], *, what: str) -> list[Anomaly]:
    new = sorted(set(values) - set(known))
    if not new:
        return []
    more = f" and {len(new) - _LISTED_VALUES} more" if len(new) > _LISTED_VALUES else ""
    listing = ", ".join(map(repr, new[:_LISTED_VALUES])) + more
    return [Anomaly(column=name, expected=f"{len(known)} known {what}", found=f"new: {listing}")]


def _describe(column: ColumnProfile | None) -> str:
    if column is None:
        return "no such column"
    if column.shape is None:
        return "no value in any row"
    absent = f", {column.missing:,} missing (first: {column.first_missing})" if column.missing else ""
    if column.is_bytes:
        return f"bytes{absent}"
    if column.first_infinite:
        return f"an infinite number ({column.first_infinite})"
    if column.is_numeric:
        shape = f" of shape {list(column.shape)}" if column.shape else ""
        return f"{'integers' if column.is_whole else 'numbers'}{shape}{absent}"
    place, text = column.not_a_number or ("", "")
    distinct = f"{len(column.values):,}" if column.values is not None else f"more than {DISTINCT_LIMIT:,}"
    return f"texts ({distinct} different), such as {text!r} ({place}){absent}"
