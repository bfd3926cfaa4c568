"""scikit-learn's logistic regression on all columns."""

import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.columns import Matrix
from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows, Unfit

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

logger = logging.getLogger(__name__)

MAX_ITERATIONS = 1_000
TIME_LIMIT_S = 300.0
ITERATIONS_AT_ONCE = 100
_MAX_COEFFICIENTS = 20_000_000  # L-BFGS keeps about 25 vectors of them: 2 GB


class LogisticRegressionBaseline:
    """Scaled numbers, one-hot categories and TF-IDF of texts, with scikit-learn's defaults."""

    name = "logistic regression"
    reads_columns = True

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S, at_once: int = ITERATIONS_AT_ONCE) -> None:
        self._time_limit_s, self._at_once = time_limit_s, at_once

    def fit(self, rows: TrainingRows) -> str:
        """Fit until it converges, or the iterations or the time are used up."""
        self._count = len(rows.schema.class_names)
        if len(np.unique(rows.labels[rows.weights > 0])) < 2:
            raise Unfit("the training rows are all of one class")
        self._matrix = Matrix(rows.schema.features)
        matrix = self._matrix.fit(rows.columns)
        refuse_many(matrix.shape[1] * self._count)
        self._model, note = fit_classes(
            matrix, rows.labels, rows.weights, what=self.name, time_limit_s=self._time_limit_s, at_once=self._at_once
        )
        return note

    def answer(self, columns: Columns, rows: int, /) -> NDArray[np.float32]:
        """Probabilities `(rows, classes)`; 0 for a class without training rows."""
        answers = np.zeros((rows, self._count), np.float32)
        answers[:, self._model.classes_] = self._model.predict_proba(self._matrix.transform(columns))
        return answers


def refuse_many(coefficients: int) -> None:
    """Raise `Unfit` for more coefficients than memory should be given for."""
    if coefficients > _MAX_COEFFICIENTS:
        raise Unfit(f"it would have {coefficients:,} coefficients, more than {_MAX_COEFFICIENTS:,}")


def fit_classes(
    matrix: Any, labels: NDArray[Any], weights: NDArray[np.float64], *, what: str, time_limit_s: float, at_once: int
) -> "tuple[LogisticRegression, str]":
    """A model of `labels`, fitted until it converges or the iterations or the time are used up, and a note of that."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=at_once, warm_start=True)
    started = time.monotonic()
    for done in range(at_once, MAX_ITERATIONS + 1, at_once):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, labels, sample_weight=weights)
        if model.n_iter_.max() < at_once:
            return model, ""
        seconds = time.monotonic() - started
        logger.info("%s: %d iterations in %.0f s", what, done, seconds)
        if seconds > time_limit_s:
            return model, f"stopped after {done} iterations, since {time_limit_s:g} s had passed"
    return model, f"not converged after {MAX_ITERATIONS:,} iterations"


if TYPE_CHECKING:
    _: type[Baseline] = LogisticRegressionBaseline
