"""The Markdown page that says what a model is, what it was made of, and where its knowledge ends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainwright_components.datasets.schema import Feature, Label
from trainwright_components.datasets.statistics import ColumnStatistics, SplitStatistics
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.export_savedmodel.requests import KnownRequest
from trainwright_components.export_savedmodel.verify import Verification
from trainwright_components.reports import dotted
from trainwright_components.training.trained_model import TrainedModel

_MAX_NAMES = 12
_MAX_EXAMPLE_CHARACTERS = 600


def write_card(
    trained: TrainedModel,
    requests: tuple[KnownRequest, ...],
    *,
    verified: Verification,
    evaluation: Mapping[str, Any],
) -> str:
    """The card; `evaluation` holds metrics by name and may be empty."""
    parts = [
        f"# {trained.module.name}",
        _purpose(trained),
        "## Inputs",
        _inputs(trained),
        "## How to ask",
        _example(requests[0]),
        "## Data",
        _data(trained),
        "## Training",
        _training(trained),
        "## Metrics",
        _metrics(trained, verified, evaluation),
        "## Checks",
        "The exported model was loaded with TensorFlow alone and asked through every signature, and for "
        f"{verified.rows:,} rows of the split {verified.split}; its answers differ from the Keras model's by at most "
        f"{verified.largest_difference:.2g}.",
        "## Limits",
        _limits(trained),
    ]
    return "\n\n".join(parts) + "\n"


def _purpose(trained: TrainedModel) -> str:
    label = trained.schema.label
    if label is None:
        return f"Computes {len(trained.model.outputs)} outputs; there was no label."
    names = trained.schema.value_names
    task = task_of(trained.schema)
    if task is Task.CLASSIFICATION:
        return f"Predicts the class `{label.name}`, one of {len(names)}: {_few(names)}."
    if task is Task.MULTILABEL:
        return (
            f"Predicts for each of {len(names)} labels how probable it is: {_few(names)}. A row may have any of them."
        )
    if names:
        return f"Predicts {len(names)} numbers: {_few(names)}."
    return f"Predicts the number `{label.name}`."


def _inputs(trained: TrainedModel) -> str:
    train = trained.context.statistics.splits.get("train")
    rows = [
        (
            f"`{each.name}`",
            each.kind,
            each.dtype,
            str(list(each.shape)) if each.shape else "one value",
            _seen(each, train),
        )
        for each in trained.schema.features
    ]
    return _table(("name", "kind", "type", "shape", "seen in training"), rows)


def _seen(feature: Feature, train: Any) -> str:
    column: ColumnStatistics | None = train.columns.get(feature.name) if train else None
    if feature.vocabulary:
        seen = _few(feature.vocabulary)
    elif column and column.min is not None and column.max is not None:
        seen = f"{column.min:g} to {column.max:g}"
    else:
        seen = ""
    if column and column.missing:
        seen += f"; {column.missing / max(1, column.count + column.missing):.1%} missing"
    return seen


def _example(request: KnownRequest) -> str:
    line = json.loads(request.to_json())
    body = json.dumps({"inputs": line["inputs"]})
    answer = json.dumps(line["outputs"])
    return "\n".join(
        [
            "POST this to `/v1/models/NAME:predict`:",
            "",
            "```json",
            _cut(body),
            "```",
            "",
            "and get:",
            "",
            "```json",
            _cut(answer),
            "```",
        ]
    )


def _data(trained: TrainedModel) -> str:
    splits = trained.context.statistics.splits
    lines = [_table(("split", "rows"), [(name, f"{split.rows:,}") for name, split in splits.items()])]
    label = trained.schema.label
    if label and label.class_names and "train" in splits and label.name in splits["train"].columns:
        values = splits["train"].columns[label.name].values
        total = max(1, sum(values.values()))
        shares = [
            (f"{name}", f"{count:,}", f"{count / total:.1%}") for name, count in list(values.items())[:_MAX_NAMES]
        ]
        lines.append(_table((label.name, "training rows", "share"), shares))
    if label and label.value_names and "train" in splits:
        lines.append(_label_table(label, splits["train"]))
    return "\n\n".join(lines)


def _label_table(label: Label, train: SplitStatistics) -> str:
    named = [
        (name, train.column(column)) for name, column in zip(label.value_names, label.statistics_names, strict=True)
    ][:_MAX_NAMES]
    if label.kind == "number":
        moments = [
            (name, *(f"{each:.4g}" for each in (c.mean, c.std, c.min, c.max) if each is not None)) for name, c in named
        ]
        return _table(("target", "mean", "std", "min", "max"), moments)
    counts = [(name, column.values["1"]) for name, column in named]
    shares = [(name, f"{count:,}", f"{count / max(1, train.rows):.1%}") for name, count in counts]
    return _table(("label", "training rows", "share"), shares)


def _training(trained: TrainedModel) -> str:
    found = dotted({name: trained.hyperparameters[name] for name in ("params", "training", "cluster")})
    rows = [(f"`{name}`", f"`{value}`") for name, value in found]
    rows += [("weights", f"{trained.model.count_params():,}")]
    done = trained.hyperparameters["epochs_done"]
    rows += [("epochs done", f"{done:,}")] if done is not None else []
    rows += [(name, f"{trained.training[name]:,.6g}") for name in ("steps", "seconds") if name in trained.training]
    return _table(("setting", "value"), rows)


def _metrics(trained: TrainedModel, verified: Verification, evaluation: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in evaluation.items() if isinstance(value, int | float)}
    where = f"export, {verified.rows:,} rows of the split {verified.split}"
    rows = [(name, f"{value:.4g}", where) for name, value in verified.scores.items()]
    rows += [(name, f"{value:.4g}", "evaluation") for name, value in numbers.items() if not isinstance(value, bool)]
    trained_metrics = trained.training.get("metrics", {})
    rows += [(name, f"{value:.4g}", "training") for name, value in trained_metrics.items()]
    return _table(("metric", "value", "measured in"), rows) if rows else "None were recorded."


def _limits(trained: TrainedModel) -> str:
    lines = [
        "It has seen the ranges and values in the table of inputs and no others; outside them nothing is known.",
        "The metrics hold for rows drawn as these were. They say nothing about other times, places or groups.",
    ]
    if any(feature.vocabulary for feature in trained.schema.features):
        lines.append("Categories that are not in the table are treated as `preprocess` treats unknown ones.")
    if trained.schema.class_names:
        lines.append("It always answers with one of its classes, also when none fits.")
    return "\n".join(f"- {line}" for line in lines)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(f"`{name}`" for name in names[:_MAX_NAMES]) + more


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_EXAMPLE_CHARACTERS else f"{text[:_MAX_EXAMPLE_CHARACTERS]} …"
