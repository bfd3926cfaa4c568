"""A model's outputs as flat columns that people read: prediction, probability, one probability per class."""

from collections.abc import Mapping

import numpy as np

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.schema import Label
from trainwright_components.metrics.bootstrap import THRESHOLD

PREDICTION = "prediction"
PROBABILITY = "probability"
_PROBABILITIES = "probabilities"


def read_answers(outputs: Mapping[str, Column], label: Label | None) -> dict[str, Column]:
    """Columns of `(rows,)` values, or `(rows, n)` arrays for outputs that have no simpler form.

    A classifier's become `prediction` (the name of the class), `probability` and `probability_<class>` of each class;
    those about several labels `prediction_<label>` (0 or 1) and `probability_<label>` of each; several targets
    `prediction_<target>`; one number per row becomes `prediction`; everything else keeps its name.
    """
    if label and label.value_names and (found := _of_values(outputs, label)) is not None:
        return found
    names = label.class_names if label else ()
    scores = outputs.get(_PROBABILITIES, next(iter(outputs.values())) if len(outputs) == 1 else None)
    if names and scores is not None and scores.ndim == 2 and scores.shape[1] == len(names):
        return _classes(scores, names)
    if len(outputs) == 1:
        values = next(iter(outputs.values()))
        return {PREDICTION: _flat(values)}
    return {name: _flat(values) for name, values in outputs.items()}


def _of_values(outputs: Mapping[str, Column], label: Label) -> dict[str, Column] | None:
    """The columns of each label or target; None where no output has a number for each."""
    numbers = [each for each in outputs.values() if each.dtype.kind == "f" and each.shape[1:] == label.shape]
    if len(numbers) != 1:
        return None
    values = dict(zip(label.value_names, numbers[0].T, strict=True))
    if label.kind == "number":
        return {f"{PREDICTION}_{name}": column for name, column in values.items()}
    predictions = {f"{PREDICTION}_{name}": (column > THRESHOLD).astype(np.int64) for name, column in values.items()}
    return predictions | {f"{PROBABILITY}_{name}": column for name, column in values.items()}


def _classes(scores: Column, names: tuple[str, ...]) -> dict[str, Column]:
    best = scores.argmax(axis=1)
    columns: dict[str, Column] = {
        PREDICTION: np.array(names, dtype=object)[best],
        PROBABILITY: scores[np.arange(len(scores)), best],
    }
    return columns | {f"{PROBABILITY}_{name}": scores[:, number] for number, name in enumerate(names)}


def _flat(values: Column) -> Column:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype != object:
        return values
    texts = [value.decode("utf-8", errors="replace") for value in values.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(values.shape)
