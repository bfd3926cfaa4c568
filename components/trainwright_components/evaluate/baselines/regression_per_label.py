"""scikit-learn's logistic regression of each of several labels, on all columns."""

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.columns import Matrix
from trainwright_components.evaluate.baselines.logistic_regression import (
    ITERATIONS_AT_ONCE,
    TIME_LIMIT_S,
    fit_classes,
    refuse_many,
)
from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows


class RegressionPerLabel:
    """One against the rest: a model of each label by itself; a label that all rows have, or none, keeps its share."""

    name = "logistic regression of each label"
    reads_columns = True

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._time_limit_s = time_limit_s

    def fit(self, rows: TrainingRows) -> str:
        """Fit one label after the other, within the time for all."""
        self._matrix = Matrix(rows.schema.features)
        matrix = self._matrix.fit(rows.columns)
        refuse_many(matrix.shape[1])
        self._shares = np.average(rows.labels, axis=0, weights=rows.weights).astype(np.float32)
        self._models, notes, started = {}, [], time.monotonic()
        for place, name in enumerate(rows.schema.value_names):
            if not 0 < self._shares[place] < 1:
                continue
            left_s = self._time_limit_s - (time.monotonic() - started)
            if left_s <= 0:
                notes.append(f"{name} and those after it keep their shares, since {self._time_limit_s:g} s had passed")
                break
            self._models[place], note = fit_classes(
                matrix, rows.labels[:, place], rows.weights, what=name, time_limit_s=left_s, at_once=ITERATIONS_AT_ONCE
            )
            notes += [f"{name}: {note}"] if note else []
        return "; ".join(notes)

    def answer(self, columns: Columns, rows: int, /) -> NDArray[np.float32]:
        """Probabilities `(rows, labels)`."""
        answers = np.tile(self._shares, (rows, 1))
        matrix = self._matrix.transform(columns)
        for place, model in self._models.items():
            answers[:, place] = model.predict_proba(matrix)[:, 1]
        return answers


if TYPE_CHECKING:
    _: type[Baseline] = RegressionPerLabel
