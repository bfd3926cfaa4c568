"""scikit-learn's ridge regression on all columns."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.columns import Matrix
from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows


class RidgeRegression:
    """Scaled numbers, one-hot categories and TF-IDF of texts, with scikit-learn's defaults."""

    name = "ridge regression"
    reads_columns = True

    def fit(self, rows: TrainingRows) -> str:
        """Fit; several values per label each for itself."""
        from sklearn.linear_model import Ridge

        self._matrix, self._shape = Matrix(rows.schema.features), rows.labels.shape[1:]
        labels = rows.labels.reshape(len(rows.labels), -1).astype(np.float64)
        self._model = Ridge().fit(self._matrix.fit(rows.columns), labels, sample_weight=rows.weights)
        return ""

    def answer(self, columns: Columns, rows: int, /) -> NDArray[np.float32]:
        """Numbers `(rows, *shape)` as the labels are."""
        found = self._model.predict(self._matrix.transform(columns))
        return np.asarray(found, np.float32).reshape(rows, *self._shape)


if TYPE_CHECKING:
    _: type[Baseline] = RidgeRegression
