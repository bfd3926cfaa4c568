"""scikit-learn's logistic regression on all columns."""

import logging
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.columns import Matrix
from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows, Unfit

logger = logging.getLogger(__name__)

MAX_ITERATIONS = 1_000
TIME_LIMIT_S = 300.0
_ITERATIONS_AT_ONCE = 100
_MAX_COEFFICIENTS = 20_000_000  # L-BFGS keeps about 25 vectors of them: 2 GB


class LogisticRegressionBaseline:
    """Scaled numbers, one-hot categories and TF-IDF of texts, with scikit-learn's defaults."""

    name = "logistic regression"
    reads_columns = True

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S, at_once: int = _ITERATIONS_AT_ONCE) -> None:
        self._time_limit_s, self._at_once = time_limit_s, at_once

    def fit(self, rows: TrainingRows) -> str:
        """Fit until it converges, or the iterations or the time are used up."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        self._count = len(rows.schema.class_names)
        if len(np.unique(rows.labels[rows.weights > 0])) < 2:
            raise Unfit("the training rows are all of one class")
        self._matrix = Matrix(rows.schema.features)
        matrix = self._matrix.fit(rows.columns)
        if (coefficients := matrix.shape[1] * self._count) > _MAX_COEFFICIENTS:
            raise Unfit(f"it would have {coefficients:,} coefficients, more than {_MAX_COEFFICIENTS:,}")
        self._model = LogisticRegression(max_iter=self._at_once, warm_start=True)
        started = time.monotonic()
        for done in range(self._at_once, MAX_ITERATIONS + 1, self._at_once):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._model.fit(matrix, rows.labels, sample_weight=rows.weights)
            if self._model.n_iter_.max() < self._at_once:
                return ""
            seconds = time.monotonic() - started
            logger.info("%s: %d iterations in %.0f s", self.name, done, seconds)
            if seconds > self._time_limit_s:
                return f"stopped after {done} iterations, since {self._time_limit_s:g} s had passed"
        return f"not converged after {MAX_ITERATIONS:,} iterations"

    def answer(self, columns: Columns, rows: int, /) -> NDArray[np.float32]:
        """Probabilities `(rows, classes)`; 0 for a class without training rows."""
        answers = np.zeros((rows, self._count), np.float32)
        answers[:, self._model.classes_] = self._model.predict_proba(self._matrix.transform(columns))
        return answers


if TYPE_CHECKING:
    _: type[Baseline] = LogisticRegressionBaseline
