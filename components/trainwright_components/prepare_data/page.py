"""The page about a prepared dataset: its splits, classes and columns, in tables and plots."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.statistics import ColumnStatistics, Statistics
from trainwright_components.datasets.verdicts.verdict import Verdict, name_columns
from trainwright_components.reports import Cell, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PLOTS = 24
MAX_BARS = 10
MAX_CLASS_BARS = 40
_COLUMNS = 4
_SHOWN_COLUMNS = 20


def draw_page(
    *,
    source: str,
    schema: Schema,
    statistics: Statistics,
    how: str,
    examples: Mapping[str, Column],
    verdicts: Sequence[Verdict] = (),
) -> Report:
    """The page.

    Args:
        source: What was prepared.
        schema: Of the dataset.
        statistics: Of its splits.
        how: How the rows were split.
        examples: Some rows, as stored, for pictures.
        verdicts: What looks wrong.
    """
    report = Report(f"Dataset {source}")
    _add_verdicts(report, verdicts)
    rows = [
        (split, numbers.rows, f"{_share(numbers.rows, statistics)} %") for split, numbers in statistics.splits.items()
    ]
    report.add_heading("Splits").add_text(how).add_table(rows, header=["split", "rows", "share"])
    if statistics.unlabeled:
        report.add_text(f"{statistics.unlabeled:,} rows without a label are in none of them.")
    _add_label(report, schema, statistics)
    report.add_heading("Features")
    table = [_feature_row(feature, statistics.splits["train"].columns[feature.name]) for feature in schema.features]
    report.add_table(
        table, header=["feature", "kind", "stored as", "missing", "mean", "std", "min", "median", "max", "values"]
    )
    for feature in schema.features:
        if feature.kind == "image" and feature.name in examples and len(feature.shape) in (0, 2, 3):
            report.add_figure(_pictures(examples, feature, schema), caption=f"Some of {feature.name}")
    drawn = [
        feature
        for feature in schema.features
        if (numbers := statistics.splits["train"].columns[feature.name]).histogram_counts or numbers.values
    ]
    if drawn:
        report.add_figure(_distributions(drawn[:MAX_PLOTS], statistics), caption="Distributions in the train split")
    if len(drawn) > MAX_PLOTS:
        report.add_text(f"{len(drawn) - MAX_PLOTS} more features are in the table but not drawn.")
    return report


def _add_verdicts(report: Report, verdicts: Sequence[Verdict]) -> None:
    report.add_heading("What looks wrong")
    if not verdicts:
        report.add_text("Nothing was found.")
        return
    rows = [
        (
            verdict.kind,
            name_columns(verdict.columns, limit=_SHOWN_COLUMNS),
            verdict.finding,
            "; or ".join(map(str, verdict.advice)),
        )
        for verdict in verdicts
    ]
    report.add_table(rows, header=["verdict", "column", "evidence", "what to do"])


def _share(rows: int, statistics: Statistics) -> str:
    return f"{100 * rows / max(1, sum(split.rows for split in statistics.splits.values())):.1f}"


def _add_label(report: Report, schema: Schema, statistics: Statistics) -> None:
    label = schema.label
    if label is None:
        report.add_heading("Label").add_text("There is none.")
        return
    report.add_heading("Labels" if label.value_names else f"Label {label.name}")
    columns = {split: numbers.columns[label.name] for split, numbers in statistics.splits.items()}
    if label.kind == "class":
        rows: list[list[Cell]] = [
            [name, *(column.values[name] for column in columns.values())] for name in label.class_names
        ]
        report.add_table(rows[:MAX_CLASS_BARS], header=["class", *columns])
        report.add_figure(_class_bars(label.class_names[:MAX_CLASS_BARS], columns), caption="Share of each class")
        return
    if label.value_names:
        _add_values(report, label, statistics)
        return
    numbers: list[list[Cell]] = [
        [split, column.mean, column.std, column.min, column.max] for split, column in columns.items()
    ]
    report.add_table(numbers, header=["split", "mean", "std", "min", "max"])
    figure, axes = _grid(len(columns))
    for axis, (split, column) in zip(axes, columns.items(), strict=False):
        _draw_histogram(axis, column, title=split)
    report.add_figure(figure, caption=f"{label.name} in each split")


def _add_values(report: Report, label: Label, statistics: Statistics) -> None:
    """The share of each label, or the numbers of each target."""
    named = [*zip(label.value_names, label.statistics_names, strict=True)]
    splits = statistics.splits
    if label.kind == "multilabel":
        counts: list[list[Cell]] = [
            [
                name,
                *(numbers.column(column).values["1"] for numbers in splits.values()),
                _percent(splits["train"].column(column).values["1"], splits["train"].rows),
            ]
            for name, column in named
        ]
        report.add_text("Rows with each label; a row may have any of them.")
        report.add_table(counts, header=["label", *splits, "share of train"])
        return
    rows: list[list[Cell]] = [
        [name, split, numbers.mean, numbers.std, numbers.min, numbers.max]
        for name, column in named
        for split, numbers in ((split, all_columns.column(column)) for split, all_columns in splits.items())
    ]
    report.add_table(rows, header=["target", "split", "mean", "std", "min", "max"])
    figure, axes = _grid(len(named[:MAX_PLOTS]))
    for axis, (name, column) in zip(axes, named[:MAX_PLOTS], strict=False):
        _draw_histogram(axis, splits["train"].column(column), title=name)
    report.add_figure(figure, caption="Targets in the train split")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.1f} %"


def _feature_row(feature: Feature, column: ColumnStatistics) -> list[Cell]:
    stored = f"{feature.dtype} {list(feature.shape)}" if feature.shape else feature.dtype
    rows = column.count + column.missing
    missing = f"{column.missing:,} ({100 * column.missing / rows:.1f} %)" if column.missing else ""
    top = ", ".join(f"{value} ({count:,})" for value, count in list(column.values.items())[:3])
    values = f"{column.distinct:,}: {top}" if column.distinct is not None else ""
    moments: list[Cell] = [column.mean, column.std, column.min, column.quantiles.get("0.5"), column.max]
    return [feature.name, feature.kind, stored, missing, *moments, values]


def _grid(plots: int, *, height: float = 2.2) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    lines = math.ceil(plots / _COLUMNS)
    figure = Figure(figsize=(3 * min(plots, _COLUMNS), height * lines))
    axes = figure.subplots(lines, min(plots, _COLUMNS), squeeze=False).ravel().tolist()
    figure.subplots_adjust(hspace=0.5, wspace=0.5)
    for axis in axes:
        axis.locator_params(nbins=4)
    for axis in axes[plots:]:
        axis.set_visible(False)
    return figure, axes


def _distributions(features: Sequence[Feature], statistics: Statistics) -> "Figure":
    figure, axes = _grid(len(features))
    for axis, feature in zip(axes, features, strict=False):
        column = statistics.splits["train"].columns[feature.name]
        if column.histogram_counts:
            _draw_histogram(axis, column, title=feature.name)
            continue
        bars = list(column.values.items())[:MAX_BARS]
        axis.barh([_short(value) for value, _ in reversed(bars)], [count for _, count in reversed(bars)])
        axis.set_title(_short(feature.name, 30), fontsize="small")
        axis.tick_params(labelsize="x-small")
    return figure


def _draw_histogram(axis: "Axes", column: ColumnStatistics, *, title: str) -> None:
    if column.histogram_counts:
        axis.stairs(column.histogram_counts, column.histogram_edges, fill=True)
    axis.set_title(_short(title, 30), fontsize="small")
    axis.tick_params(labelsize="x-small")


def _class_bars(names: Sequence[str], columns: Mapping[str, ColumnStatistics]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(12, 2 + 0.6 * len(names)), 3), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(columns)
    for number, (split, column) in enumerate(columns.items()):
        shares = [column.values[name] / max(1, column.count) for name in names]
        axis.bar(np.arange(len(names)) + number * width, shares, width, label=split)
    axis.set_xticks(np.arange(len(names)) + 0.4 - width / 2, [_short(name) for name in names], fontsize="small")
    axis.legend(fontsize="small", ncols=len(columns), loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return figure


def _pictures(examples: Mapping[str, Column], feature: Feature, schema: Schema) -> "Figure":
    from matplotlib.figure import Figure

    column = examples[feature.name]
    figure = Figure(figsize=(1.2 * len(column), 1.6), layout="constrained")
    label = schema.label
    for number, value in enumerate(column):
        axis = figure.add_subplot(1, len(column), number + 1)
        pixels = _thumbnail(value) if feature.dtype == "string" else np.asarray(value, np.float32)
        axis.imshow(pixels / max(1.0, float(np.nanmax(pixels))), cmap="gray")
        axis.axis("off")
        if label and label.class_names:
            axis.set_title(_short(label.class_names[int(examples[label.name][number])], 12), fontsize="small")
    return figure


def _thumbnail(content: bytes) -> Column:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        image.thumbnail((96, 96))
        return np.asarray(image.convert("RGB"), np.float32)


def _short(text: str, limit: int = 16) -> str:
    text = text.replace("$", r"\$")
    return text if len(text) <= limit else text[: limit - 1] + "…"
