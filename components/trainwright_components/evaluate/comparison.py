"""The model beside its baselines on the same rows: their numbers, and whether it is worse beyond chance.

Compared by RMSE or accuracy; by AUC where accuracy would say little: where one class alone is right on more than
`IMBALANCED_SHARE` of the training rows (a model that learned nothing has that accuracy), or where the training weighed
classes (which gives up accuracy for the rare ones). AUC is moved by neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import SplitStatistics, Statistics
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.evaluate.baselines.fitting import TRAIN, FittedBaselines
from trainwright_components.evaluate.blessing import Check, check_baseline, is_defined
from trainwright_components.evaluate.scoring import ScoredBatch
from trainwright_components.evaluate.slices import Scores, Tally
from trainwright_components.metrics.bootstrap import Difference, compare_paired
from trainwright_components.metrics.even_sample import EvenSample
from trainwright_components.metrics.table import METRICS, headline_metrics, main_metric

IMBALANCED_SHARE = 0.8
MAX_DRAWN_ROWS = 10_000
_RANKING = "auc"


@dataclass(frozen=True, kw_only=True)
class BaselineScores:
    """One baseline on all rows; `difference` is the model's metric minus its own, on at most `MAX_DRAWN_ROWS` rows."""

    name: str
    scores: Scores
    difference: Difference | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """The model and its baselines.

    Args:
        metric: What they are compared by.
        notes: Why a baseline is not there, or what is worth saying about it.
    """

    metric: str
    value: float | None
    baselines: tuple[BaselineScores, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    more_is_better: bool = True

    @property
    def strongest(self) -> BaselineScores | None:
        """The best by the metric; None where there is none."""
        known = [each for each in self.baselines if is_defined(each.scores.metrics.get(self.metric))]
        sign = 1 if self.more_is_better else -1
        return max(known, key=lambda each: sign * each.scores.metrics[self.metric], default=None)

    def checks(self, *, is_allowed: bool) -> list[Check]:
        """One check for each baseline; `is_allowed` says that the model may be worse."""
        return [
            check_baseline(
                self.metric,
                self.value,
                each.scores.metrics.get(self.metric),
                difference=each.difference,
                more_is_better=self.more_is_better,
                name=each.name,
                is_allowed=is_allowed,
            )
            for each in self.baselines
        ]

    @property
    def scores(self) -> dict[str, float]:
        """The metric of each, by a name that says whose it is; rounded, so that equal models give equal ones."""
        values = {self.metric: self.value}
        for each in self.baselines:
            values[f"{self.metric} of the baseline {each.name}"] = each.scores.metrics.get(self.metric)
        return {name: float(f"{value:.4g}") for name, value in values.items() if value is not None}

    @property
    def metadata(self) -> dict[str, Any]:
        """All of it as JSON values."""
        strongest = self.strongest
        return {
            "metric": self.metric,
            "value": self.value,
            "strongest": strongest.name if strongest else "",
            "strongest_value": strongest.scores.metrics[self.metric] if strongest else None,
            "notes": dict(self.notes),
            "models": {
                each.name: {
                    "metrics": each.scores.metrics,
                    "difference": each.difference and each.difference.value,
                    "low": each.difference and each.difference.low,
                    "high": each.difference and each.difference.high,
                    "drawn_rows": each.difference and each.difference.rows,
                    "drawn_keys": each.difference and each.difference.groups,
                }
                for each in self.baselines
            },
        }


class BesideBaselines:
    """Adds up what the baselines answer to the rows that the model is scored on.

    `groups` has a number for each of them, the same for those that belong together; it is empty where none do.
    """

    def __init__(
        self, fitted: FittedBaselines, make_tally: Callable[[], Tally], metric: str, groups: Sequence[float] = ()
    ) -> None:
        self._fitted, self._metric, self._groups, self._rows = fitted, metric, np.asarray(groups), 0
        self._tallies = [make_tally() for _ in fitted.baselines]
        self._drawn = EvenSample(MAX_DRAWN_ROWS)

    def add(self, batch: ScoredBatch) -> None:
        """Score the baselines on a batch."""
        if not self._tallies:
            return
        rows = len(batch.labels)
        features = {feature.name: batch.features[feature.name].numpy() for feature in self._fitted.read_features}
        answers = self._fitted.answer(features, rows)
        for tally, answer in zip(self._tallies, answers, strict=True):
            tally.add(answer, batch.labels, batch.weights)
        weights = np.ones(rows) if batch.weights is None else batch.weights
        groups = self._groups[self._rows : self._rows + rows] if self._groups.size else np.zeros(rows)
        self._rows += rows
        self._drawn.add([groups, batch.labels, weights, batch.answers, *answers])

    def result(self, scores: Scores, task: Task) -> BaselineComparison:
        """The comparison with the model's own `scores`."""
        metric = self._metric if is_defined(scores.metrics.get(self._metric)) else main_metric(task)
        found = METRICS[task][metric]
        results = [tally.result() for tally in self._tallies]
        differences: list[Difference | None] = [None] * len(results)
        if results and found.by_rows is not None:
            groups, labels, weights, own, *others = self._drawn.result()
            model, together = found.by_rows(own, labels, weights), groups if self._groups.size else None
            differences = [
                compare_paired(model, found.by_rows(other, labels, weights), groups=together) for other in others
            ]
        notes = self._fitted.notes
        return BaselineComparison(
            metric=metric,
            value=scores.metrics.get(metric),
            baselines=tuple(
                BaselineScores(name=each.name, scores=result, difference=difference, note=notes.get(each.name, ""))
                for each, result, difference in zip(self._fitted.baselines, results, differences, strict=True)
            ),
            notes=notes,
            more_is_better=bool(found.more_is_better),
        )


def baseline_metric(schema: Schema, statistics: Statistics, class_weights: Mapping[str, float]) -> str:
    """What a model of such a label is compared with its baselines by; the head of this module says why."""
    task = task_of(schema)
    can_rank = any(metric.name == _RANKING for metric in headline_metrics(task))
    is_imbalanced = _majority_share(schema, statistics.splits.get(TRAIN)) > IMBALANCED_SHARE
    return _RANKING if can_rank and (class_weights or is_imbalanced) else main_metric(task)


def _majority_share(schema: Schema, statistics: SplitStatistics | None) -> float:
    if statistics is None or not statistics.rows or schema.label is None:
        return 0.0
    return max(statistics.column(schema.label.name).values.values(), default=0) / statistics.rows
