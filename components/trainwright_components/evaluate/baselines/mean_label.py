"""Always the mean of the labels."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows


class MeanLabel:
    """The mean of each value of the training labels, for every row."""

    name = "mean"
    reads_columns = False

    def fit(self, rows: TrainingRows) -> str:
        """Average the labels."""
        self._mean = np.average(rows.labels.astype(np.float64), axis=0, weights=rows.weights).astype(np.float32)
        return ""

    def answer(self, _: Columns, rows: int, /) -> NDArray[np.float32]:
        """The same mean `rows` times."""
        return np.broadcast_to(self._mean, (rows, *self._mean.shape))


if TYPE_CHECKING:
    _: type[Baseline] = MeanLabel
