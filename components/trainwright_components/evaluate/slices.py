"""The same numbers for parts of the rows: one tally per value of a categorical feature."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright_components.metrics.classification import ClassificationScores
from trainwright_components.metrics.multilabel import MultilabelScores
from trainwright_components.metrics.regression import RegressionScores

MAX_VALUES = 50
MISSING, OTHER = "(missing)", "(other)"

Scores = ClassificationScores | MultilabelScores | RegressionScores


class Tally(Protocol):
    """Adds up answers and labels batch by batch."""

    def add(self, answers: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any] | None = None, /) -> None:
        """Add a batch."""

    def result(self) -> Scores:
        """The numbers over everything added so far."""


@dataclass(frozen=True, kw_only=True)
class SliceScores:
    """The rows where `feature` has the value `value`."""

    feature: str
    value: str
    scores: Scores

    @property
    def name(self) -> str:
        """How this slice is called in messages, such as `region=north`."""
        return f"{self.feature}={self.value}"


class SliceTallies:
    """One tally per value of each feature; values beyond the first `MAX_VALUES` share one tally."""

    def __init__(self, features: tuple[str, ...], make_tally: Callable[[], Tally]) -> None:
        self._make_tally = make_tally
        self._tallies: dict[str, dict[str, Tally]] = {feature: {} for feature in features}

    def add(
        self,
        features: Mapping[str, NDArray[Any]],
        answers: NDArray[Any],
        labels: NDArray[Any],
        weights: NDArray[Any] | None,
    ) -> None:
        """Add a batch; `features` holds at least those that are sliced by."""
        for feature, tallies in self._tallies.items():
            for value, rows in _rows_by_value(features[feature]):
                known = value if value in tallies or len(tallies) < MAX_VALUES else OTHER
                if known not in tallies:
                    tallies[known] = self._make_tally()
                tallies[known].add(answers[rows], labels[rows], None if weights is None else weights[rows])

    def results(self) -> tuple[SliceScores, ...]:
        """Every slice, by feature and value."""
        return tuple(
            SliceScores(feature=feature, value=value, scores=tally.result())
            for feature, tallies in self._tallies.items()
            for value, tally in sorted(tallies.items())
        )


def _rows_by_value(column: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    values, groups = np.unique(column, return_inverse=True)
    for index, value in enumerate(values.tolist()):
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        yield text or MISSING, np.flatnonzero(groups == index)
