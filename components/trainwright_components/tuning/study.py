"""What a study is: its goal, its limits, its trials and their measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import check_choice, check_mapping, check_minimum, read_settings
from trainwright_components.tuning.algorithms import ALGORITHMS, ALIASES, DEFAULT_ALGORITHM
from trainwright_components.tuning.space import SearchSpace, Value

DEFAULT_METRIC = "val_loss"


class _Choice(StrEnum):
    """Read whatever the case, and under the other names that it is known by."""

    @classmethod
    def _missing_(cls, value: object) -> "_Choice | None":
        text = str(value).upper()
        return cls.__members__.get(_ALIASES.get(text, text))


_ALIASES = {
    "LAST": "LAST_MEASUREMENT",
    "BEST": "BEST_MEASUREMENT",
}


class Goal(_Choice):
    """Which way the metric should go."""

    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"


class MeasurementSelection(_Choice):
    """Which of a trial's measurements counts as its result."""

    LAST_MEASUREMENT = "LAST_MEASUREMENT"
    BEST_MEASUREMENT = "BEST_MEASUREMENT"


class TrialState(StrEnum):
    """Where a trial is; one that failed is INFEASIBLE and says why."""

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
        goal: MAXIMIZE or MINIMIZE; may be left out only for losses, which are minimized.
        algorithm: TPE learns from finished trials; RANDOM_SEARCH does not; GRID_SEARCH tries every point.
        max_trial_count: Trials in all, failed ones included; raise it to resume a finished study.
        parallel_trial_count: Trials that run at the same time, each in its own process; they share the cores.
        max_failed_trial_count: The study fails once so many trials failed; 0 lets it go on as long as one has
            succeeded, and gives up when the first five all fail.
        max_duration_s: Seconds that the study may run, all processes that ran it together; 0 for no limit. Then it
            ends with the best trial so far.
        max_trial_duration_s: Seconds that a trial may run, all its attempts together; 0 for no limit. Then it is ended
            and counts as failed.
        median_stopping: Stop a trial whose best value is worse than the median of the finished trials' running
            averages.
        median_stopping_min_trials: Trials that finish in full before any is stopped.
        measurement_selection: LAST_MEASUREMENT, which agrees with the model that is kept, or BEST_MEASUREMENT.
        start_from_params: Try the module's own values first, so that tuning never ends worse than it began.
        search_space: Takes the place of the module's SEARCH_SPACE when not empty.
        seed: The same seed, space and results give the same points.
    """

    metric: str = DEFAULT_METRIC
    goal: Goal | None = None
    algorithm: str = DEFAULT_ALGORITHM
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

    def __post_init__(self) -> None:
        least = {"max_trial_count": 1, "parallel_trial_count": 1, "median_stopping_min_trials": 1}
        check_minimum(self, where="tuning", minimum=least)
        check_choice(self.algorithm, ALGORITHMS, where="tuning.algorithm")
        if not self.metric:
            raise InvalidSetting("tuning.metric must be the name of a metric, got ''")
        if self.goal is None:
            if not self.metric.endswith("loss"):
                raise InvalidSetting(f"tuning.goal is missing: say MAXIMIZE or MINIMIZE for {self.metric!r}")
            object.__setattr__(self, "goal", Goal.MINIMIZE)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """Check names and values of a plain mapping.

        Raises:
            InvalidSetting: Names the setting and what it takes.
        """
        check_mapping(given, where="tuning")
        text = str(given.get("algorithm", "")).upper()
        known = {"algorithm": ALIASES.get(text, text)} if ALIASES.get(text, text) in ALGORITHMS else {}
        return read_settings(cls, {**given, **known}, where="tuning")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Metrics that a trial reported at one step; `elapsed_s` counts from the start of the trial."""

    step_count: int
    metrics: Mapping[str, float]
    elapsed_s: float = 0.0


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


@dataclass(frozen=True, kw_only=True)
class Study:
    """A goal over a space, and the trials so far, by id; `fingerprint` stands for what every trial shares."""

    settings: TuningSettings
    space: SearchSpace
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
