"""What a study is: its goal, its limits, its trials and their measurements, and the record of them in Vertex' shape."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.tuning.space import ParameterSpace, Value

DEFAULT_METRIC = "val_loss"


class Goal(StrEnum):
    """Which way the metric should go."""

    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"


class Algorithm(StrEnum):
    """How the next point is chosen."""

    TPE = "TPE"
    RANDOM_SEARCH = "RANDOM_SEARCH"
    GRID_SEARCH = "GRID_SEARCH"


class MeasurementSelection(StrEnum):
    """Which of a trial's measurements counts as its result."""

    LAST_MEASUREMENT = "LAST_MEASUREMENT"
    BEST_MEASUREMENT = "BEST_MEASUREMENT"


class TrialState(StrEnum):
    """Vertex' states; a trial that failed is INFEASIBLE and says why."""

    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    INFEASIBLE = "INFEASIBLE"

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended."""
        return self in (TrialState.SUCCEEDED, TrialState.INFEASIBLE)


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """What the user says about a study.

    Args:
        metric: Name of the training's metric, as in its history.
        goal: May be left out only for losses, which are minimized.
        algorithm: TPE learns from finished trials; RANDOM_SEARCH does not; GRID_SEARCH tries every point.
        max_trial_count: Trials in all, failed ones included.
        parallel_trial_count: Trials that run at the same time, each in its own process.
        max_failed_trial_count: The study fails once so many trials failed; 0 lets it go on as long as one has
            succeeded, and gives up when the first five all fail.
        max_duration_s: Seconds that the study may run, all processes that ran it together; 0 for no limit. Then it
            ends with the best trial so far.
        max_trial_duration_s: Seconds that a trial may run, all its attempts together; 0 for no limit. Then it is ended
            and counts as failed.
        median_stopping: Stop a trial whose best value is worse than the median of the finished trials' averages.
        median_stopping_min_trials: Trials that finish in full before any is stopped.
        measurement_selection: LAST_MEASUREMENT agrees with the model that is kept.
        start_from_params: Try the parameters' own values first, if they lie in the space.
        search_space: Takes the place of the module's SEARCH_SPACE when not empty.
        seed: The same seed, space and results give the same points.
    """

    metric: str = DEFAULT_METRIC
    goal: Goal = Goal.MINIMIZE
    algorithm: Algorithm = Algorithm.TPE
    max_trial_count: int = 8
    parallel_trial_count: int = 2
    max_failed_trial_count: int = 0
    max_duration_s: float = 0.0
    max_trial_duration_s: float = 0.0
    median_stopping: bool = False
    median_stopping_min_trials: int = 5
    measurement_selection: MeasurementSelection = MeasurementSelection.LAST_MEASUREMENT
    start_from_params: bool = True
    search_space: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """Check names and values of a plain mapping.

        Raises:
            InvalidSetting: Names the setting and what it takes.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                raise InvalidSetting(f"tuning has no setting {name!r}: {hint}")
        metric = given.get("metric", DEFAULT_METRIC)
        if "goal" not in given and not str(metric).endswith("loss"):
            raise InvalidSetting(f"tuning.goal is missing: say MAXIMIZE or MINIMIZE for {metric!r}")
        return cls(**{name: _checked(name, value) for name, value in given.items()})


def _checked(name: str, value: Any) -> Any:
    if name in _CHOICES:
        return _choice(name, value)
    if name in _LEAST:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < _LEAST[name]:
            raise InvalidSetting(f"tuning.{name} must be a whole number of at least {_LEAST[name]}, got {value!r}")
        return int(value)
    if name in _SECONDS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise InvalidSetting(f"tuning.{name} must be a number of seconds, 0 for no limit, got {value!r}")
        return float(value)
    kind = _TYPES[name]
    if not isinstance(value, kind) or value == "":
        raise InvalidSetting(f"tuning.{name} must be {_WORDS[kind]}, got {value!r}")
    return value


_CHOICES: dict[str, type[StrEnum]] = {
    "goal": Goal,
    "algorithm": Algorithm,
    "measurement_selection": MeasurementSelection,
}
_ALIASES = {
    "ALGORITHM_UNSPECIFIED": "TPE",
    "RANDOM": "RANDOM_SEARCH",
    "GRID": "GRID_SEARCH",
    "LAST": "LAST_MEASUREMENT",
    "BEST": "BEST_MEASUREMENT",
}
_LEAST = {
    "max_trial_count": 1,
    "parallel_trial_count": 1,
    "max_failed_trial_count": 0,
    "median_stopping_min_trials": 1,
    "seed": 0,
}
_SECONDS = ("max_duration_s", "max_trial_duration_s")
_TYPES: dict[str, type] = {"metric": str, "median_stopping": bool, "start_from_params": bool, "search_space": Mapping}
_WORDS: dict[type, str] = {str: "a name", bool: "true or false", Mapping: "a mapping of parameter names"}


def _choice(name: str, value: Any) -> StrEnum:
    kind = _CHOICES[name]
    text = str(value).upper()
    try:
        return kind(_ALIASES.get(text, text))
    except ValueError as error:
        raise InvalidSetting(f"tuning.{name} is {value!r}: use one of {', '.join(kind)}") from error


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Metrics that a trial reported at one step; `elapsed_s` counts from the start of the trial."""

    step_count: int
    metrics: Mapping[str, float]
    elapsed_s: float = 0.0

    def to_vertex(self) -> dict[str, Any]:
        """Vertex' JSON form."""
        metrics = [{"metricId": name, "value": _json_number(value)} for name, value in self.metrics.items()]
        return {"stepCount": str(self.step_count), "elapsedDuration": f"{self.elapsed_s:.3f}s", "metrics": metrics}

    @classmethod
    def from_vertex(cls, record: Mapping[str, Any]) -> Self:
        """Read Vertex' JSON form."""
        return cls(
            step_count=int(record["stepCount"]),
            elapsed_s=float(record["elapsedDuration"].removesuffix("s")),
            metrics={metric["metricId"]: float(metric["value"]) for metric in record["metrics"]},
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of the space and what came of it.

    Args:
        id: Counts from 1.
        attempt: Above 1 for a trial that was cut short and started again with the same parameters.
        reason: Why a trial failed or was cut short, in one line.
        is_stopped_early: Ended by the stopping rule; its final measurement is where it stood then.
    """

    id: int
    params: Mapping[str, Value]
    state: TrialState = TrialState.ACTIVE
    attempt: int = 1
    measurements: tuple[Measurement, ...] = ()
    final_measurement: Measurement | None = None
    reason: str = ""
    user_traceback: str = ""
    is_stopped_early: bool = False
    started_at: float = 0.0
    ended_at: float | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time, once ended."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def value(self, metric: str) -> float | None:
        """The result, for a trial that has one."""
        if self.state is not TrialState.SUCCEEDED or self.final_measurement is None:
            return None
        return self.final_measurement.metrics.get(metric)

    def to_vertex(self) -> dict[str, Any]:
        """Vertex' JSON form."""
        record: dict[str, Any] = {
            "id": str(self.id),
            "state": self.state.value,
            "parameters": [{"parameterId": name, "value": value} for name, value in self.params.items()],
            "measurements": [measurement.to_vertex() for measurement in self.measurements],
            "startTime": _timestamp(self.started_at),
        }
        if self.final_measurement is not None:
            record["finalMeasurement"] = self.final_measurement.to_vertex()
        if self.ended_at is not None:
            record["endTime"] = _timestamp(self.ended_at)
        if self.reason:
            record["infeasibleReason"] = self.reason
        return record

    def to_record(self) -> dict[str, Any]:
        """Vertex' JSON form and beside it what Vertex has no word for."""
        more = {name: getattr(self, name) for name in _BESIDE_VERTEX}
        return {**self.to_vertex(), "trainwright": {"params": dict(self.params), **more}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_record` wrote."""
        final = record.get("finalMeasurement")
        return cls(
            id=int(record["id"]),
            state=TrialState(record["state"]),
            measurements=tuple(Measurement.from_vertex(measurement) for measurement in record["measurements"]),
            final_measurement=None if final is None else Measurement.from_vertex(final),
            reason=record.get("infeasibleReason", ""),
            **record["trainwright"],
        )


_BESIDE_VERTEX = ("attempt", "user_traceback", "is_stopped_early", "started_at", "ended_at")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A goal over a space, and the trials so far, by id; `fingerprint` stands for what every trial shares."""

    settings: TuningSettings
    space: ParameterSpace
    trials: Sequence[Trial] = ()
    fingerprint: str = ""

    @property
    def best(self) -> Trial | None:
        """The trial with the best result, the earliest of equals; trials that were stopped early do not count."""
        rated = [
            (value, trial)
            for trial in self.trials
            if not trial.is_stopped_early and (value := trial.value(self.settings.metric)) is not None
        ]
        if not rated:
            return None
        pick = max if self.settings.goal is Goal.MAXIMIZE else min
        return pick(rated, key=lambda pair: pair[0])[1]

    def to_vertex(self) -> dict[str, Any]:
        """The record: Vertex' Study and Trials, and beside them what Vertex has no word for."""
        settings = self.settings
        spec: dict[str, Any] = {
            "metrics": [{"metricId": settings.metric, "goal": settings.goal.value}],
            "parameters": self.space.to_vertex(),
            "algorithm": _VERTEX_ALGORITHMS[settings.algorithm],
            "measurementSelectionType": settings.measurement_selection.value,
        }
        if settings.median_stopping:
            spec["medianAutomatedStoppingSpec"] = {"useElapsedDuration": False}
        if settings.max_duration_s:
            spec["studyStoppingConfig"] = {
                "maximumRuntimeConstraint": {"maxDuration": f"{settings.max_duration_s:.3f}s"}
            }
        best = self.best
        trial_job = {"scheduling": {"timeout": f"{settings.max_trial_duration_s:.3f}s"}}
        return {
            "studySpec": spec,
            **({"trialJobSpec": trial_job} if settings.max_trial_duration_s else {}),
            "maxTrialCount": settings.max_trial_count,
            "parallelTrialCount": settings.parallel_trial_count,
            "maxFailedTrialCount": settings.max_failed_trial_count,
            "trials": [trial.to_vertex() for trial in self.trials],
            "trainwright": {
                "seed": settings.seed,
                "fingerprint": self.fingerprint,
                "bestTrialId": None if best is None else str(best.id),
                "stoppedEarly": [str(trial.id) for trial in self.trials if trial.is_stopped_early],
                "attempts": {str(trial.id): trial.attempt for trial in self.trials if trial.attempt > 1},
            },
        }


_VERTEX_ALGORITHMS = {
    Algorithm.TPE: "ALGORITHM_UNSPECIFIED",
    Algorithm.RANDOM_SEARCH: "RANDOM_SEARCH",
    Algorithm.GRID_SEARCH: "GRID_SEARCH",
}


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
