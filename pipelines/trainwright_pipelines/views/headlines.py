"""What a person wants to know first about a run: how good the model is, how small it got, where it is served."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainwright_pipelines.engine.records import Artifact, Task

_EVALUATE, _QUANTIZE, _TUNE, _PREDICT = "evaluate", "quantize-tflite", "hyperparameter-tune", "batch-predict"
_METRICS = "system.Metrics"


@dataclass(frozen=True, kw_only=True)
class Headlines:
    """The first things to know; what a run did not produce is absent.

    Args:
        metric_name: Of the test split: accuracy of a classifier, or AUC where accuracy says little; micro F1 of several
            labels; an error of a regression, which has an `r2` beside it.
        baseline_name: The strongest of the simple models that were trained on the same rows; its metric beside the
            model's is `baseline_value`.
        folds: How many models cross-validation trained; the mean and the standard deviation of their metric are
            `folds_mean` and `folds_std`.
        is_blessed: Whether the evaluation let the model through; `reasons` says why, or what stood against it, and then
            `advice` what to do.
        deploys: Whether the model was to be served; false for a blessed one where `serving.enabled` is false.
        tflite_mode: The quantization that was chosen.
        tflite_score: Accuracy of a classifier, micro F1 of several labels, R2 of a regression, as `tflite_score_name`
            says.
        endpoint: The address of the served model.
        hyperparameters: What the model was trained with, defaults included: `params`, `training`, `cluster`,
            `epochs_done`, `steps`.
        predictions: The file of a batch prediction; `predicted_rows` counts them.
    """

    metric_name: str = ""
    metric_value: float | None = None
    r2: float | None = None
    baseline_name: str = ""
    baseline_value: float | None = None
    folds: int = 0
    folds_mean: float | None = None
    folds_std: float | None = None
    is_blessed: bool | None = None
    deploys: bool | None = None
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    tflite_size_bytes: int | None = None
    tflite_mode: str = ""
    tflite_score_name: str = ""
    tflite_score: float | None = None
    endpoint: str = ""
    version: int | None = None
    curl: str = ""
    stop_command: str = ""
    best_params: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    predictions: str = ""
    predicted_rows: int | None = None

    @property
    def metric_note(self) -> str:
        """The baseline's metric, that of folds, and R2 beside an error, to compare with that of the TFLite model."""
        baseline = [] if self.baseline_value is None else [f"baseline {self.baseline_value:.4f}: {self.baseline_name}"]
        folds = (
            []
            if self.folds_mean is None
            else [f"{self.folds} folds {self.folds_mean:.4f}, standard deviation {self.folds_std:.4f}"]
        )
        return "; ".join([*baseline, *folds, *([] if self.r2 is None else [f"R2 {self.r2:.4f}"])])

    @property
    def tflite_note(self) -> str:
        """How the TFLite model was made and how good it is."""
        if self.tflite_score is None:
            return self.tflite_mode
        return f"{self.tflite_mode}, test {self.tflite_score_name} {self.tflite_score:.4f}"


def find_headlines(tasks: Sequence[Task]) -> Headlines:
    """The headlines of the run whose steps are `tasks`."""
    baselines = _metadata_with(tasks, {"baselines"}, component=_EVALUATE).get("baselines", {})
    name, value = _headline_metric(tasks, first=baselines.get("metric"))
    found = _metadata_with(tasks, {"cross_validation"}, component=_EVALUATE).get("cross_validation") or {}
    blessed = _output(tasks, _EVALUATE, "is_blessed")
    reasons = _output(tasks, _EVALUATE, "reasons") or ()
    tflite = _metadata_with(tasks, {"size_bytes", "mode"}, component=_QUANTIZE)
    deployment = _metadata_with(tasks, {"rest_url"})
    predictions, predicted_rows = _predictions(tasks)
    return Headlines(
        metric_name=name,
        metric_value=value,
        r2=_metric(tasks, "r2") if name != "r2" else None,
        baseline_name=baselines.get("strongest", ""),
        baseline_value=baselines.get("strongest_value"),
        folds=len(found.get("folds", ())),
        folds_mean=found.get("mean", {}).get(name),
        folds_std=found.get("std", {}).get(name),
        is_blessed=blessed if isinstance(blessed, bool) else None,
        deploys=_output(tasks, _EVALUATE, "deploy"),
        reasons=_reasons(reasons, only_failed=blessed is False),
        advice=_advice(reasons) if blessed is False else (),
        tflite_size_bytes=int(tflite["size_bytes"]) if tflite else None,
        tflite_mode=str(tflite.get("mode", "")),
        tflite_score_name=_score_words(tflite),
        tflite_score=tflite.get("score"),
        endpoint=str(deployment.get("rest_url", "")),
        version=int(deployment["version"]) if "version" in deployment else None,
        curl=str(deployment.get("curl", "")),
        stop_command=str(deployment.get("stop_command", "")),
        best_params=_output(tasks, _TUNE, "best_params") or {},
        hyperparameters=_metadata_with(tasks, {"hyperparameters"}).get("hyperparameters", {}),
        predictions=predictions,
        predicted_rows=predicted_rows,
    )


def metric_artifacts(tasks: Iterable[Task]) -> list[tuple[Task, Artifact]]:
    """Every `system.Metrics` with something in it, and the step that made it."""
    return [
        (task, artifact)
        for task in tasks
        for artifacts in task.outputs.artifacts.values()
        for artifact in artifacts
        if artifact.type == _METRICS and artifact.metadata
    ]


def in_time_order(tasks: Iterable[Task]) -> list[Task]:
    """The steps by the time of their start, each group before what it holds.

    What never started comes last, each step after those that it waits for.
    """
    found = {task.path: task for task in tasks}

    @functools.cache
    def rank(path: str) -> int:
        return 1 + max((rank(each) for each in found[path].depends_on if each in found), default=0)

    def place(task: Task) -> list[tuple[float, int, str]]:
        parts = task.path.split("/")
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return [(_start(found.get(path)), rank(path) if path in found else 0, path) for path in paths]

    return sorted(found.values(), key=place)


def _start(task: Task | None) -> float:
    return task.started.timestamp() if task is not None and task.started else math.inf


def _reasons(reasons: Iterable[Any], *, only_failed: bool) -> tuple[str, ...]:
    passed = [isinstance(each, Mapping) and each.get("passed") is True for each in reasons]
    messages = [str(each.get("message", each)) if isinstance(each, Mapping) else str(each) for each in reasons]
    return tuple(text for text, is_good in zip(messages, passed, strict=True) if not (only_failed and is_good))


def _advice(reasons: Iterable[Any]) -> tuple[str, ...]:
    found = [str(each["advice"]) for each in reasons if isinstance(each, Mapping) and each.get("advice")]
    return tuple(dict.fromkeys(found))


def _predictions(tasks: Sequence[Task]) -> tuple[str, int | None]:
    for artifact in _artifacts(tasks, _PREDICT):
        if "file" in artifact.metadata:
            return f"{artifact.uri}/{artifact.metadata['file']}", artifact.metadata.get("rows")
    return "", None


def _score_words(tflite: Mapping[str, Any]) -> str:
    name = str(tflite.get("score_name") or ("accuracy" if tflite.get("class_names") else "r2"))
    return {"r2": "R2", "micro_f1": "micro F1"}.get(name, name)


def _headline_metric(tasks: Sequence[Task], *, first: str | None) -> tuple[str, float | None]:
    if all(artifact.type != _METRICS for artifact in _artifacts(tasks, _EVALUATE)):
        return "", None
    from trainwright_components.metrics.table import METRICS, headline_metrics, main_metric

    names = [
        *([first] if first else []),
        *(main_metric(task) for task in METRICS),  # a metric of two tasks is the main one of none
        *(metric.name for task in METRICS for metric in headline_metrics(task)),
        "loss",
    ]
    return next(((name, value) for name in names if (value := _metric(tasks, name)) is not None), ("", None))


def _metric(tasks: Sequence[Task], name: str) -> float | None:
    for artifact in _artifacts(tasks, _EVALUATE):
        value = artifact.metadata.get(name) if artifact.type == _METRICS else None
        if isinstance(value, int | float):
            return float(value)
    return None


def _metadata_with(tasks: Sequence[Task], names: set[str], *, component: str = "") -> Mapping[str, Any]:
    return next((each.metadata for each in _artifacts(tasks, component) if names <= each.metadata.keys()), {})


def _artifacts(tasks: Sequence[Task], component: str = "") -> Iterator[Artifact]:
    """Outputs of the steps of one component, or of all; the last step first."""
    for task in reversed(tasks):
        if is_component(task, component):
            for artifacts in task.outputs.artifacts.values():
                yield from artifacts


def _output(tasks: Sequence[Task], component: str, name: str) -> Any:
    return next((task.outputs.parameters.get(name) for task in reversed(tasks) if is_component(task, component)), None)


def is_component(task: Task, name: str) -> bool:
    """Whether the step runs the component `name`; the compiler numbers further uses: `comp-evaluate-2`."""
    stem = task.component.removeprefix("comp-")
    return not name or stem == name or (stem.startswith(f"{name}-") and stem.removeprefix(f"{name}-").isdecimal())
