"""The table of metrics: what is written of them elsewhere agrees with it."""

from pathlib import Path
from typing import Any

import keras
import pytest

import trainwright_components.evaluate
from trainwright_components.datasets.task import Task
from trainwright_components.metrics.directions import is_maximized
from trainwright_components.metrics.metric import Metric
from trainwright_components.metrics.settings import EvaluationSettings
from trainwright_components.metrics.table import METRICS, headline_metrics, main_metric, score_metric

EVERY = [metric for metrics in METRICS.values() for metric in metrics.values()]


def test_what_is_shown_and_compared_first() -> None:
    names = {task: [metric.name for metric in headline_metrics(task)] for task in Task}
    assert names == {
        Task.CLASSIFICATION: ["accuracy", "auc"],
        Task.MULTILABEL: ["micro_f1", "auc"],
        Task.REGRESSION: ["rmse", "mae", "r2"],
    }
    assert [main_metric(task) for task in Task] == ["accuracy", "micro_f1", "rmse"]
    assert [score_metric(task) for task in Task] == ["accuracy", "micro_f1", "r2"]


def test_no_name_means_two_directions() -> None:
    assert len({(metric.name, metric.more_is_better, metric.is_unbounded) for metric in EVERY}) == len(
        {metric.name for metric in EVERY}
    )


def test_what_a_task_is_told_by_is_a_metric_of_no_other() -> None:
    found = {task: [other for other in Task if main_metric(task) in METRICS[other]] for task in Task}
    assert found == {task: [task] for task in Task}


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_early_stopping_knows_the_direction_of_every_metric(metric: Metric[Any]) -> None:
    assert is_maximized(metric.name) is is_maximized(f"val_{metric.name}") is bool(metric.more_is_better)


def test_documentation_names_the_errors_whose_tolerance_is_a_share() -> None:
    (folder,) = map(Path, trainwright_components.evaluate.__path__)
    readme, names = (
        (folder / "README.md").read_text(),
        [*dict.fromkeys(metric.name for metric in EVERY if metric.is_unbounded)],
    )
    assert names == ["log_loss", "mae", "mse", "rmse", "max_error"]
    assert f"for {', '.join(f'`{name}`' for name in names[:-1])} and `{names[-1]}`" in readme
    assert f"{', '.join(names[:-1])} and {names[-1]}" in str(EvaluationSettings.__doc__)


NEEDED = ("precision", "recall", "specificity", "sensitivity")
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {"num_classes": 2, "target_class_ids": [0]},
    {"num_classes": 2},
    *({name: 0.5} for name in NEEDED),
)


def made(kind: type[keras.metrics.Metric]) -> keras.metrics.Metric | None:
    for arguments in ARGUMENTS:
        try:
            return kind(**arguments)
        except TypeError:
            continue
    return None


def test_early_stopping_knows_the_direction_of_keras_own_metrics() -> None:
    kinds = [kind for kind in vars(keras.metrics).values() if isinstance(kind, type)]
    metrics = [metric for kind in kinds if issubclass(kind, keras.metrics.Metric) and (metric := made(kind))]
    known = {metric.name: metric._direction for metric in metrics if getattr(metric, "_direction", None)}
    assert len(known) > 30
    assert {name: is_maximized(name) for name in known} == {name: way == "up" for name, way in known.items()}
