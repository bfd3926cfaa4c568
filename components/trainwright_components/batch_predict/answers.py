"""A model's outputs as flat columns that people read: prediction, probability, one probability per class."""

from collections.abc import Mapping

import numpy as np

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.schema import Label

PREDICTION = "prediction"
PROBABILITY = "probability"
_PROBABILITIES = "probabilities"


def read_answers(outputs: Mapping[str, Column], label: Label | None) -> dict[str, Column]:
    """Columns of `(rows,)` values, or `(rows, n)` arrays for outputs that have no simpler form.

    A classifier's become `prediction` (the name of the class), `probability` and `probability_<class>` of each class;
    one number per row becomes `prediction`; everything else keeps its name.
    """
    names = label.class_names if label else ()
    scores = outputs.get(_PROBABILITIES, next(iter(outputs.values())) if len(outputs) == 1 else None)
    if names and scores is not None and scores.ndim == 2 and scores.shape[1] == len(names):
        return _classes(scores, names)
    if len(outputs) == 1:
        values = next(iter(outputs.values()))
        return {PREDICTION: _flat(values)}
    return {name: _flat(values) for name, values in outputs.items()}


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
