"""Always the most frequent class."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows


class MajorityClass:
    """The shares of the classes among the training rows, for every row."""

    name = "majority class"
    reads_columns = False

    def fit(self, rows: TrainingRows) -> str:
        """Count the classes."""
        counts = np.bincount(rows.labels, rows.weights, minlength=len(rows.schema.class_names))
        self._shares = (counts / counts.sum()).astype(np.float32)
        return ""

    def answer(self, _: Columns, rows: int, /) -> NDArray[np.float32]:
        """The same shares `rows` times."""
        return np.tile(self._shares, (rows, 1))


if TYPE_CHECKING:
    _: type[Baseline] = MajorityClass
