"""Numbers about predicted numbers, added up batch by batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.metrics.bootstrap import rmse_sums
from trainwright_components.metrics.even_sample import EvenSample
from trainwright_components.metrics.metric import Metric, compute_all, name_values

Floats = NDArray[np.float64]

SAMPLE_ROWS = 2_000


@dataclass(frozen=True, kw_only=True)
class RegressionScores:
    """What a regressor did.

    Args:
        metrics: Without those that the rows do not define, such as R2 of a constant label.
        targets: The same numbers of each target of several, by its name; empty where they have none.
        label_std: `(values,)`, the standard deviation of the labels.
        sample_labels: `(rows, values)`, at most `SAMPLE_ROWS` rows drawn evenly from all of them, for plots.
    """

    rows: int
    metrics: dict[str, float]
    targets: dict[str, dict[str, float]]
    label_std: Floats
    sample_labels: Floats
    sample_predictions: Floats

    @property
    def named_metrics(self) -> dict[str, float]:
        """Also those of each target, such as `rmse.TARGET`."""
        return self.metrics | name_values(REGRESSION_METRICS, self.targets)


@dataclass(frozen=True, kw_only=True)
class RegressionSums:
    """What a tally has added up over rows of a `weight` above 0; arrays are `(values,)`.

    Args:
        absolute: Weighted sums of absolute errors; `squared` and `error` of squared and signed ones.
        largest: Of the absolute errors.
        label_spread: Weighted sums of the labels' squared distances from their mean.
    """

    weight: float
    absolute: Floats
    squared: Floats
    error: Floats
    largest: Floats
    label_spread: Floats

    def of(self, place: int) -> "RegressionSums":
        """Those of one value of a row."""
        part = slice(place, place + 1)
        return RegressionSums(
            weight=self.weight,
            absolute=self.absolute[part],
            squared=self.squared[part],
            error=self.error[part],
            largest=self.largest[part],
            label_spread=self.label_spread[part],
        )


class RegressionTally:
    """Adds up batches of numbers or vectors, whose values may have `names`; its size does not depend on the rows."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self.rows = 0
        self._weight = 0.0
        self._absolute = self._squared = self._error = self._largest = np.zeros(0)
        self._label_mean = self._label_spread = np.zeros(0)
        self._sample = EvenSample(SAMPLE_ROWS)

    def add(self, predictions: NDArray[np.float32], labels: NDArray[np.float32], weights: Floats | None = None) -> None:
        """Add a batch; `predictions` and `labels` are `(n,)` or `(n, values)`, `weights` is `(n,)`."""
        if not np.isfinite(predictions).all():
            raise InvalidModule(
                "the model puts out NaN or infinity; look at the training's loss, and at missing values"
            )
        if not (np.isfinite(labels).all() and (weights is None or np.isfinite(weights).all())):
            raise InvalidData("a label or a weight of these rows is NaN or infinite; leave out such rows")
        count = len(labels)
        guesses = predictions.reshape(count, -1).astype(np.float64)
        truths = labels.reshape(count, -1).astype(np.float64)
        weights = np.ones(count) if weights is None else weights.astype(np.float64)
        if not self.rows:
            self._absolute, self._squared, self._error, self._largest, self._label_mean, self._label_spread = np.zeros(
                (6, truths.shape[1])
            )
        errors = guesses - truths
        self.rows += count
        self._add_spread(truths, weights)
        self._absolute = self._absolute + weights @ np.abs(errors)
        self._squared = self._squared + weights @ errors**2
        self._error = self._error + weights @ errors
        self._largest = np.maximum(self._largest, np.abs(errors[weights > 0]).max(axis=0, initial=0))
        self._sample.add([truths, guesses])

    def result(self) -> RegressionScores:
        """The numbers over everything added so far; those of several values per row are means over the values."""
        sums = RegressionSums(
            weight=self._weight,
            absolute=self._absolute,
            squared=self._squared,
            error=self._error,
            largest=self._largest,
            label_spread=self._label_spread,
        )
        labels, predictions = self._sample.result() or np.zeros((2, 0, 0))
        return RegressionScores(
            rows=self.rows,
            metrics=compute_all(REGRESSION_METRICS, sums) if self._weight > 0 else {},
            targets={
                name: compute_all(REGRESSION_METRICS, sums.of(place)) if self._weight > 0 else {}
                for place, name in enumerate(self.names)
            },
            label_std=np.sqrt(self._label_spread / self._weight) if self._weight > 0 else np.zeros(0),
            sample_labels=labels,
            sample_predictions=predictions,
        )

    def _add_spread(self, truths: Floats, weights: Floats) -> None:
        """Chan's way to join the means and squared deviations of two parts; sums of squares would lose digits."""
        weight = weights.sum()
        if weight <= 0:
            return
        mean = weights @ truths / weight
        spread = weights @ (truths - mean) ** 2
        total = self._weight + weight
        distance = mean - self._label_mean
        self._label_spread = self._label_spread + spread + distance**2 * self._weight * weight / total
        self._label_mean = self._label_mean + distance * weight / total
        self._weight = total


def _rmse(sums: RegressionSums) -> float:
    return float(np.sqrt(sums.squared / sums.weight).mean())


def _r2(sums: RegressionSums) -> float | None:
    return _explained(sums, sums.squared)


def _explained_variance(sums: RegressionSums) -> float | None:
    return _explained(sums, sums.squared - sums.error**2 / sums.weight)


def _explained(sums: RegressionSums, unexplained: Floats) -> float | None:
    has_spread = bool((sums.label_spread > 0).all())
    return float((1 - unexplained / sums.label_spread).mean()) if has_spread else None


REGRESSION_METRICS: tuple[Metric[RegressionSums], ...] = (
    Metric(
        name="mae",
        compute=lambda sums: float((sums.absolute / sums.weight).mean()),
        more_is_better=False,
        is_unbounded=True,
        is_per_value=True,
        headline=2,
    ),
    Metric(
        name="mse",
        compute=lambda sums: float((sums.squared / sums.weight).mean()),
        more_is_better=False,
        is_unbounded=True,
    ),
    Metric(
        name="rmse",
        compute=_rmse,
        more_is_better=False,
        is_unbounded=True,
        is_per_value=True,
        headline=1,
        by_rows=rmse_sums,
    ),
    Metric(name="mean_error", compute=lambda sums: float((sums.error / sums.weight).mean()), more_is_better=None),
    Metric(name="max_error", compute=lambda sums: float(sums.largest.max()), more_is_better=False, is_unbounded=True),
    Metric(name="r2", compute=_r2, more_is_better=True, is_per_value=True, headline=3),
    Metric(name="explained_variance", compute=_explained_variance, more_is_better=True),
)
