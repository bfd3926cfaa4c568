"""Studies, trials and measurements in the JSON form of Vertex AI Vizier, as a study's folder keeps them.

What Vizier has no word for stands beside it, under "trainwright".
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trainwright_components.tuning.space import (
    CategoricalSpec,
    DiscreteSpec,
    DoubleSpec,
    IntegerSpec,
    ParameterSpec,
    SearchSpace,
    Value,
)
from trainwright_components.tuning.study import Measurement, Study, Trial, TrialState

FORMAT = 1
"""Raised when what stands under "trainwright" changes so that an older release would misread it."""

_ALGORITHMS = ("RANDOM_SEARCH", "GRID_SEARCH")  # Vizier's names; its own choice is ALGORITHM_UNSPECIFIED
_BESIDE_VERTEX = ("attempt", "user_traceback", "is_stopped_early", "started_at", "ended_at")

_PARENT_KEY: dict[type[ParameterSpec], str] = {
    IntegerSpec: "parentIntValues",
    DiscreteSpec: "parentDiscreteValues",
    CategoricalSpec: "parentCategoricalValues",
}


def measurement_record(measurement: Measurement) -> dict[str, Any]:
    """Vizier's Measurement."""
    metrics = [{"metricId": name, "value": _json_number(value)} for name, value in measurement.metrics.items()]
    elapsed = f"{measurement.elapsed_s:.3f}s"
    return {"stepCount": str(measurement.step_count), "elapsedDuration": elapsed, "metrics": metrics}


def read_measurement(record: Mapping[str, Any]) -> Measurement:
    """Read what `measurement_record` gave."""
    return Measurement(
        step_count=int(record["stepCount"]),
        elapsed_s=float(record["elapsedDuration"].removesuffix("s")),
        metrics={metric["metricId"]: float(metric["value"]) for metric in record["metrics"]},
    )


def trial_record(trial: Trial) -> dict[str, Any]:
    """Vizier's Trial, and what it has no word for: enough to read the trial back."""
    more = {name: getattr(trial, name) for name in _BESIDE_VERTEX}
    return {**_vertex_trial(trial), "trainwright": {"params": dict(trial.params), **more}}


def read_trial(record: Mapping[str, Any]) -> Trial:
    """Read what `trial_record` gave."""
    final = record.get("finalMeasurement")
    return Trial(
        id=int(record["id"]),
        state=TrialState(record["state"]),
        measurements=tuple(read_measurement(measurement) for measurement in record["measurements"]),
        final_measurement=None if final is None else read_measurement(final),
        reason=record.get("infeasibleReason", ""),
        **record["trainwright"],
    )


def study_record(study: Study) -> dict[str, Any]:
    """Vizier's Study and Trials, and what it has no word for."""
    settings = study.settings
    spec: dict[str, Any] = {
        "metrics": [{"metricId": settings.metric, "goal": str(settings.goal)}],
        "parameters": _space(study.space),
        "algorithm": settings.algorithm if settings.algorithm in _ALGORITHMS else "ALGORITHM_UNSPECIFIED",
        "measurementSelectionType": settings.measurement_selection.value,
    }
    if settings.median_stopping:
        spec["medianAutomatedStoppingSpec"] = {"useElapsedDuration": False}
    if settings.max_duration_s:
        spec["studyStoppingConfig"] = {"maximumRuntimeConstraint": {"maxDuration": f"{settings.max_duration_s:.3f}s"}}
    best = study.best
    trial_job = {"scheduling": {"timeout": f"{settings.max_trial_duration_s:.3f}s"}}
    return {
        "studySpec": spec,
        **({"trialJobSpec": trial_job} if settings.max_trial_duration_s else {}),
        "maxTrialCount": settings.max_trial_count,
        "parallelTrialCount": settings.parallel_trial_count,
        "maxFailedTrialCount": settings.max_failed_trial_count,
        "trials": [_vertex_trial(trial) for trial in study.trials],
        "trainwright": {
            "format": FORMAT,
            "algorithm": settings.algorithm,
            "seed": settings.seed,
            "fingerprint": study.fingerprint,
            "bestTrialId": None if best is None else str(best.id),
            "stoppedEarly": [str(trial.id) for trial in study.trials if trial.is_stopped_early],
            "attempts": {str(trial.id): trial.attempt for trial in study.trials if trial.attempt > 1},
        },
    }


def _vertex_trial(trial: Trial) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": str(trial.id),
        "state": trial.state.value,
        "parameters": [{"parameterId": name, "value": value} for name, value in trial.params.items()],
        "measurements": [measurement_record(measurement) for measurement in trial.measurements],
        "startTime": _timestamp(trial.started_at),
    }
    if trial.final_measurement is not None:
        record["finalMeasurement"] = measurement_record(trial.final_measurement)
    if trial.ended_at is not None:
        record["endTime"] = _timestamp(trial.ended_at)
    if trial.reason:
        record["infeasibleReason"] = trial.reason
    return record


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def _space(space: SearchSpace) -> list[dict[str, Any]]:
    """Children nested in their parents."""
    return [_parameter(parameter, space) for parameter in space.parameters if parameter.when is None]


def _parameter(parameter: ParameterSpec, space: SearchSpace) -> dict[str, Any]:
    children = [
        {
            _PARENT_KEY[type(parameter)]: {"values": _texts(child.when.values)},
            "parameterSpec": _parameter(child, space),
        }
        for child in space.parameters
        if child.when and child.when.parent == parameter.name
    ]
    spec = {"parameterId": parameter.name, **_values(parameter)}
    return {**spec, "conditionalParameterSpecs": children} if children else spec


def _values(parameter: ParameterSpec) -> dict[str, Any]:
    match parameter:
        case DoubleSpec(min_value=low, max_value=high):
            return _with_default("doubleValueSpec", {"minValue": low, "maxValue": high}, parameter)
        case IntegerSpec(min_value=low, max_value=high):
            # int64 is text in the JSON form of a protocol buffer
            return _with_default("integerValueSpec", {"minValue": str(low), "maxValue": str(high)}, parameter)
        case DiscreteSpec(values=numbers):
            return _with_default("discreteValueSpec", {"values": list(numbers)}, parameter)
        case CategoricalSpec(values=names):
            return _with_default("categoricalValueSpec", {"values": _texts(names)}, parameter)
    raise TypeError(type(parameter))


def _with_default(key: str, values: dict[str, Any], parameter: ParameterSpec) -> dict[str, Any]:
    default = parameter.default_value
    if default is not None:
        values["defaultValue"] = str(default) if isinstance(parameter, IntegerSpec) else _texts([default])[0]
    spec: dict[str, Any] = {key: values}
    scale = getattr(parameter, "scale_type", None)
    return spec if scale is None else {**spec, "scaleType": scale.value}


def _texts(values: Sequence[Value]) -> list[Any]:
    return [str(value).lower() if isinstance(value, bool) else value for value in values]
