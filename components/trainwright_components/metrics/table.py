"""Every metric of ours, by what a model predicts. To add one: its function, its row beside it, and its test."""

from collections.abc import Mapping
from typing import Any

from trainwright_components.datasets.task import Task
from trainwright_components.metrics.classification import CLASSIFICATION_METRICS
from trainwright_components.metrics.metric import Metric
from trainwright_components.metrics.multilabel import MULTILABEL_METRICS
from trainwright_components.metrics.regression import REGRESSION_METRICS

METRICS: Mapping[Task, Mapping[str, Metric[Any]]] = {
    Task.CLASSIFICATION: {metric.name: metric for metric in CLASSIFICATION_METRICS},
    Task.MULTILABEL: {metric.name: metric for metric in MULTILABEL_METRICS},
    Task.REGRESSION: {metric.name: metric for metric in REGRESSION_METRICS},
}


def headline_metrics(task: Task) -> list[Metric[Any]]:
    """What a person wants to know first about a model, best first."""
    ranked = [(metric.headline, metric) for metric in METRICS[task].values() if metric.headline is not None]
    return [metric for _, metric in sorted(ranked, key=lambda each: each[0])]


def main_metric(task: Task) -> str:
    """What models are compared by where nobody chose."""
    return headline_metrics(task)[0].name


def score_metric(task: Task) -> str:
    """The first of the headlines that is a score, at most 1, the more the better."""
    return next(each.name for each in headline_metrics(task) if each.more_is_better and not each.is_unbounded)
