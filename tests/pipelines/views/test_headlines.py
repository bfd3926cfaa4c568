"""The first things to know about a run, from what its steps gave."""

from dataclasses import replace
from typing import Any

import pytest

from trainwright_pipelines.engine.records import Artifact, Task, Values
from trainwright_pipelines.views.headlines import find_headlines, in_time_order, is_component
from trainwright_pipelines.views.wording import short_seconds, short_size


def _artifact(kind: str, **metadata: Any) -> Artifact:
    return Artifact(id="a", name="a", type=kind, uri="a", metadata=metadata)


def test_headlines_are_those_of_the_evaluation_and_the_deployment(tasks: list[Task]) -> None:
    found = find_headlines(tasks)
    assert (found.metric_name, found.metric_value, found.metric_note) == ("accuracy", 0.9875, "")
    assert found.is_blessed is True
    assert found.reasons == ("accuracy 0.99 is over 0.9",)
    assert (found.endpoint, found.version) == ("http://127.0.0.1:8501/v1/models/digits", 2)


def test_a_regression_is_told_by_its_error(tasks: list[Task]) -> None:
    metrics = {"metrics": (_artifact("system.Metrics", rmse=2.5, r2=0.9),)}
    outputs = Values(artifacts=metrics, parameters={"is_blessed": False, "reasons": [{"message": "rmse is too high"}]})
    evaluate = replace(next(task for task in tasks if task.name == "evaluate"), outputs=outputs)
    found = find_headlines([evaluate])
    assert (found.metric_name, found.metric_value, found.metric_note) == ("rmse", 2.5, "R2 0.9000")
    assert found.is_blessed is False
    assert found.reasons == ("rmse is too high",)


def test_the_metric_that_baselines_are_compared_by_comes_first_with_the_strongest_of_them(tasks: list[Task]) -> None:
    baselines = {"metric": "auc", "strongest": "logistic regression", "strongest_value": 0.81}
    metrics = {"metrics": (_artifact("system.Metrics", accuracy=0.95, auc=0.83, baselines=baselines),)}
    evaluate = replace(
        next(task for task in tasks if task.name == "evaluate"), outputs=Values(artifacts=metrics, parameters={})
    )
    found = find_headlines([evaluate])
    assert (found.metric_name, found.metric_value) == ("auc", 0.83)
    assert found.metric_note == "baseline 0.8100: logistic regression"
    assert (found.baseline_name, found.baseline_value) == ("logistic regression", 0.81)


def test_the_hyperparameters_are_those_on_the_trained_model(tasks: list[Task]) -> None:
    found = {"params": {"units": 8}, "training": {"epochs": 3}}
    model = _artifact("system.Model", hyperparameters=found)
    step = replace(tasks[0], component="comp-train-distributed", outputs=Values(artifacts={"model": (model,)}))
    assert find_headlines([step]).hyperparameters == found


def test_the_folds_of_cross_validation_stand_beside_the_metric_of_the_test(tasks: list[Task]) -> None:
    folds = {"folds": [{}] * 5, "mean": {"accuracy": 0.91, "auc": 0.8}, "std": {"accuracy": 0.025, "auc": 0.1}}
    metrics = {"metrics": (_artifact("system.Metrics", accuracy=0.95, cross_validation=folds),)}
    evaluate = replace(
        next(task for task in tasks if task.name == "evaluate"), outputs=Values(artifacts=metrics, parameters={})
    )
    assert find_headlines([evaluate]).metric_note == "5 folds 0.9100, standard deviation 0.0250"


@pytest.mark.parametrize(
    ("metadata", "note"),
    [
        ({"class_names": ["a"], "score": 0.5}, "int8, test accuracy 0.5000"),
        ({"class_names": [], "score": 0.25}, "int8, test R2 0.2500"),
        ({"score": None}, "int8"),
    ],
)
def test_the_quantized_model_is_told_with_its_score(tasks: list[Task], metadata: dict[str, object], note: str) -> None:
    model = _artifact("system.Model", size_bytes=5120, mode="int8", **metadata)
    step = replace(tasks[0], component="comp-quantize-tflite-2", outputs=Values(artifacts={"tflite_model": (model,)}))
    found = find_headlines([step])
    assert found.tflite_size_bytes == 5120
    assert found.tflite_note == note


def test_a_model_that_was_trained_and_not_tested_has_no_test_score(tasks: list[Task]) -> None:
    outputs = Values(artifacts={"metrics": (_artifact("system.Metrics", accuracy=0.999),)})
    step = replace(tasks[0], component="comp-train-distributed", outputs=outputs)
    assert find_headlines([step]).metric_value is None


def test_only_what_stood_against_the_model_is_why_it_is_not_served(tasks: list[Task]) -> None:
    reasons = [
        {"passed": False, "message": "too bad", "advice": "do better"},
        {"passed": True, "message": "no worse than the champion", "advice": ""},
    ]
    outputs = Values(parameters={"is_blessed": False, "reasons": reasons})
    evaluate = replace(next(task for task in tasks if task.name == "evaluate"), outputs=outputs)
    found = find_headlines([evaluate])
    assert (found.reasons, found.advice) == (("too bad",), ("do better",))


@pytest.mark.parametrize("deploys", [True, False, None])
def test_it_is_told_whether_a_good_model_was_to_be_served(tasks: list[Task], deploys: bool | None) -> None:
    """An evaluation in a pipeline compiled by an earlier release does not say it."""
    outputs = Values(parameters={"is_blessed": True} | ({} if deploys is None else {"deploy": deploys}))
    evaluate = replace(next(task for task in tasks if task.name == "evaluate"), outputs=outputs)
    found = find_headlines([evaluate])
    assert (found.is_blessed, found.deploys) == (True, deploys)


def test_predictions_are_told_with_their_file(tasks: list[Task]) -> None:
    predictions = replace(_artifact("system.Dataset", file="predictions.jsonl", rows=360), uri="/out")
    step = replace(tasks[0], component="comp-batch-predict", outputs=Values(artifacts={"predictions": (predictions,)}))
    found = find_headlines([step])
    assert (found.predictions, found.predicted_rows) == ("/out/predictions.jsonl", 360)


def test_a_run_without_results_has_no_headlines() -> None:
    found = find_headlines([])
    assert found.metric_value is None
    assert found.endpoint == ""


def test_steps_are_in_the_order_of_their_start_below_their_groups(tasks: list[Task]) -> None:
    shuffled = [*reversed(tasks)]
    assert [task.path for task in in_time_order(shuffled)] == [task.path for task in tasks]


def test_steps_that_never_started_come_after_those_they_wait_for(tasks: list[Task]) -> None:
    def waiting(path: str, *after: str) -> Task:
        return replace(tasks[0], path=path, name=path, started=None, depends_on=after)

    found = in_time_order([waiting("blessed", "evaluate"), waiting("evaluate", "train"), waiting("train")])
    assert [task.path for task in found] == ["train", "evaluate", "blessed"]


def test_numbered_components_are_the_same_component(tasks: list[Task]) -> None:
    assert is_component(replace(tasks[0], component="comp-evaluate-2"), "evaluate")
    assert not is_component(replace(tasks[0], component="comp-evaluate-again"), "evaluate")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("train", "train"),
        ("condition-1/condition-branches-2/deploy", "deploy"),
        ("exit-handler-1/for-loop-1/0/train", "for-loop-1/0/train"),
        ("condition-1/importer", "model-module"),
    ],
)
def test_a_step_is_named_without_its_conditions(tasks: list[Task], path: str, label: str) -> None:
    shown = label.rpartition("/")[2]
    assert replace(tasks[0], path=path, display_name=shown).label == label


def test_durations_and_sizes_are_as_a_person_says_them() -> None:
    assert [short_seconds(each) for each in (None, 0.04, 9.9, 59.6, 61, 7500)] == [
        "",
        "0.0 s",
        "9.9 s",
        "1 min 0 s",
        "1 min 1 s",
        "2 h 5 min",
    ]
    assert [short_size(each) for each in (12, 51184, 3_100_000)] == ["12 B", "51.2 kB", "3.1 MB"]
