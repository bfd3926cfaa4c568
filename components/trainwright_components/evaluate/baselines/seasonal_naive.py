"""The label of one season before."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainwright_components.evaluate.baselines.protocol import Baseline, Columns, TrainingRows, Unfit


class SeasonalNaive:
    """What the series was one season before, for a schema whose history has a season; the mean where that is missing.

    Hyndman and Athanasopoulos, "Forecasting: principles and practice", section 5.2, take it for the one to beat.
    """

    name = "seasonal naive"
    reads_columns = True

    def fit(self, rows: TrainingRows) -> str:
        """Learn the mean for rows without a season before them, and say how many of the training rows those are."""
        history = rows.schema.history
        self._column = history.season_name if history else ""
        if self._column not in rows.columns:
            raise Unfit(f"not trained, since the model does not take {self._column!r}")
        self._mean = np.float32(np.average(rows.labels.astype(np.float64), weights=rows.weights))
        missing = int(np.isnan(rows.columns[self._column]).sum())
        if not missing:
            return ""
        return (
            f"where {self._column!r} is missing, as in {missing:,} of {len(rows.labels):,} training rows, it answers "
            "with their mean"
        )

    def answer(self, columns: Columns, _: int, /) -> NDArray[np.float32]:
        """The label of one season before, of each row."""
        before = np.asarray(columns[self._column], np.float32)[:, 0]
        return np.where(np.isnan(before), self._mean, before)


if TYPE_CHECKING:
    _: type[Baseline] = SeasonalNaive
