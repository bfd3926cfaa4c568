"""Where the next point comes from: Optuna, fed from our own trials. Optuna's names do not leave this module."""

import logging
import random
import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trainwright_components.hyperparameter_tune.parameters import (
    CategoricalParameter,
    DiscreteParameter,
    DoubleParameter,
    IntegerParameter,
    Parameter,
    ParameterSpace,
    ScaleType,
    Value,
)
from trainwright_components.hyperparameter_tune.study import Algorithm, Trial, TuningSettings

T = TypeVar("T")

MAX_STARTUP_TRIALS = 10
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
        for trial in trials:
            self._restore(trial)

    def suggest(self, trial_id: int) -> dict[str, Value]:
        """The point for a new trial.

        Raises:
            LookupError: The grid has no more points.
        """
        if self._settings.algorithm is Algorithm.GRID_SEARCH:
            for point in islice(self._space.grid(), trial_id - 1, None):
                return point
            raise LookupError(trial_id)
        self._study.sampler = _sampler(self._settings, trial_id)
        asked = self._study.ask()
        self._numbers[trial_id] = asked.number
        return self._space.choose(lambda parameter: _decode(parameter, _suggest(asked, parameter)))

    def learn(self, trial: Trial) -> None:
        """Take in a trial that ended, whoever chose its point."""
        number = self._numbers.get(trial.id)
        value = trial.value(self._settings.metric)
        if number is None:
            self._restore(trial)
        elif value is None:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, value)

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
        point = {name: value for name, value in trial.params.items() if name in self._space.names}
        frozen = optuna.trial.create_trial(
            state=state,
            value=value if state == states.COMPLETE else None,
            params={name: _encode(self._space[name], given) for name, given in point.items()},
            distributions={name: _distribution(self._space[name]) for name in point},
        )
        self._numbers[trial.id] = len(self._study.trials)
        self._study.add_trial(frozen)


def _sampler(settings: TuningSettings, trial_id: int) -> optuna.samplers.BaseSampler:
    seed = random.Random(f"{settings.seed}:{trial_id}").getrandbits(32)  # noqa: S311  repeatable on purpose
    if settings.algorithm is Algorithm.RANDOM_SEARCH:
        return optuna.samplers.RandomSampler(seed=seed)
    startup = max(MIN_STARTUP_TRIALS, min(MAX_STARTUP_TRIALS, settings.max_trial_count // 4))
    return _quietly(
        lambda: optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True)
    )


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
