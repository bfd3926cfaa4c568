"""Where the next point comes from. Random points and importances are Optuna's, whose names do not leave this module."""

import logging
import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trainwright_components.tuning.space import (
    CategoricalParameter,
    DiscreteParameter,
    DoubleParameter,
    IntegerParameter,
    Parameter,
    ParameterSpace,
    ScaleType,
    Value,
)
from trainwright_components.tuning.study import Algorithm, Goal, Trial, TuningSettings
from trainwright_components.tuning.suggesters.tree_parzen import first_point, next_point

T = TypeVar("T")

MAX_STARTUP_TRIALS = 5
MIN_STARTUP_TRIALS = 3


class Suggestions:
    """Chooses points and learns from results.

    Nothing is kept on disk here: a resumed study is rebuilt from the records of its trials, which are the only truth.
    Each trial draws from a seed of its own, so that interruptions and parallelism do not shift the later ones.
    """

    def __init__(self, space: ParameterSpace, settings: TuningSettings, trials: Iterable[Trial] = ()) -> None:
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self._space = space
        self._settings = settings
        self._study = optuna.create_study(direction=settings.goal.value.lower())
        self._numbers: dict[int, int] = {}
        self._points: dict[int, tuple[Mapping[str, Value], float | None]] = {}
        for trial in trials:
            self.learn(trial)

    def suggest(self, trial_id: int) -> dict[str, Value]:
        """The point for a new trial.

        Raises:
            LookupError: The grid has no more points.
        """
        if self._settings.algorithm is Algorithm.GRID_SEARCH:
            for point in islice(self._space.grid(), trial_id - 1, None):
                return point
            raise LookupError(trial_id)
        if self._settings.algorithm is Algorithm.TPE:
            point = self._promising(trial_id)
            self._points[trial_id] = point, None
            return point
        self._study.sampler = optuna.samplers.RandomSampler(seed=_seed(self._settings, trial_id))
        asked = self._study.ask()
        self._numbers[trial_id] = asked.number
        return self._space.choose(lambda parameter: _decode(parameter, _suggest(asked, parameter)))

    def learn(self, trial: Trial) -> None:
        """Take in a trial that ended, whoever chose its point."""
        number = self._numbers.get(trial.id)
        value = trial.value(self._settings.metric)
        self._points[trial.id] = self._own(trial), value
        if number is None:
            self._restore(trial)
        elif value is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def _promising(self, trial_id: int) -> dict[str, Value]:
        settings = self._settings
        count = max(MIN_STARTUP_TRIALS, min(MAX_STARTUP_TRIALS, settings.max_trial_count // 4))
        known = [self._points[known_id] for known_id in sorted(self._points) if known_id != trial_id]
        sign = -1 if settings.goal is Goal.MAXIMIZE else 1
        rated = sorted(((sign * value, at) for at, (_, value) in enumerate(known) if value is not None))
        if trial_id <= count or len(rated) < MIN_STARTUP_TRIALS:
            return first_point(self._space, index=trial_id - 1, count=count, seed=settings.seed)
        others = [point for point, value in known if value is None]
        return next_point(self._space, [known[at][0] for _, at in rated], others, seed=(settings.seed, trial_id))

    def _own(self, trial: Trial) -> dict[str, Value]:
        return {name: value for name, value in trial.params.items() if name in self._space.names}

    def importances(self) -> dict[str, float]:
        """Share of each parameter in the differences between results; empty when there is too little to say."""
        succeeded = [t for t in self._study.trials if t.state == optuna.trial.TrialState.COMPLETE]
        if len(succeeded) < MIN_STARTUP_TRIALS or len({t.value for t in succeeded}) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            return dict(_quietly(lambda: optuna.importance.get_param_importances(self._study, evaluator=evaluator)))
        except (ValueError, RuntimeError):  # Optuna's words for "too few different points"
            return {}

    def _restore(self, trial: Trial) -> None:
        value = trial.value(self._settings.metric)
        states = optuna.trial.TrialState
        state = states.RUNNING if not trial.state.is_final else states.FAIL if value is None else states.COMPLETE
        point = self._own(trial)
        frozen = optuna.trial.create_trial(
            state=state,
            value=value if state == states.COMPLETE else None,
            params={name: _encode(self._space[name], given) for name, given in point.items()},
            distributions={name: _distribution(self._space[name]) for name in point},
        )
        self._numbers[trial.id] = len(self._study.trials)
        self._study.add_trial(frozen)


def _seed(settings: TuningSettings, trial_id: int) -> int:
    return random.Random(f"{settings.seed}:{trial_id}").getrandbits(32)  # noqa: S311  repeatable on purpose


def _quietly(call: Callable[[], T]) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return call()


def _distribution(parameter: Parameter) -> BaseDistribution:
    match parameter:
        case DoubleParameter(min_value=low, max_value=high, scale_type=scale):
            return FloatDistribution(low, high, log=scale is not ScaleType.UNIT_LINEAR_SCALE)
        case IntegerParameter(min_value=low, max_value=high, scale_type=scale):
            return IntDistribution(low, high, log=scale is not ScaleType.UNIT_LINEAR_SCALE)
        case DiscreteParameter(values=values):
            return IntDistribution(0, len(values) - 1)  # the index keeps the order, which categories would lose
        case CategoricalParameter(values=values):
            return CategoricalDistribution(values)
    raise TypeError(type(parameter))


def _suggest(asked: optuna.Trial, parameter: Parameter) -> Any:
    distribution = _distribution(parameter)
    if isinstance(distribution, FloatDistribution):
        return asked.suggest_float(parameter.name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return asked.suggest_int(parameter.name, distribution.low, distribution.high, log=distribution.log)
    return asked.suggest_categorical(parameter.name, distribution.choices)


def _decode(parameter: Parameter, drawn: Any) -> Value:
    match parameter:
        case DiscreteParameter(values=values):
            return values[int(drawn)]
        case DoubleParameter() | IntegerParameter():
            mirrored: Value = _mirrored(parameter, drawn)
            return mirrored
    value: Value = drawn
    return value


def _encode(parameter: Parameter, value: Any) -> Any:
    match parameter:
        case DiscreteParameter(values=values):
            return values.index(value)
        case IntegerParameter():
            return _mirrored(parameter, int(value))
        case DoubleParameter():
            return _mirrored(parameter, float(value))
    return value


def _mirrored(parameter: DoubleParameter | IntegerParameter, value: Any) -> Any:
    """A reverse logarithmic scale is a logarithmic one seen from the other end."""
    if parameter.scale_type is not ScaleType.UNIT_REVERSE_LOG_SCALE:
        return value
    mirrored = parameter.min_value + parameter.max_value - value
    return min(max(mirrored, parameter.min_value), parameter.max_value)  # rounding must not leave the range
