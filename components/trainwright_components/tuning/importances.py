"""Which parameters matter. The method is Optuna's (PED-ANOVA), whose names do not leave this module."""

import logging
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trainwright_components.tuning.space import (
    CategoricalSpec,
    DiscreteSpec,
    DoubleSpec,
    IntegerSpec,
    ParameterSpec,
    ScaleType,
)
from trainwright_components.tuning.study import Study

MIN_TRIALS = 3


def parameter_importances(study: Study) -> dict[str, float]:
    """Share of each parameter in the differences between results; empty when there is too little to say."""
    rated = [(trial, value) for trial in study.trials if (value := trial.value(study.settings.metric)) is not None]
    if len(rated) < MIN_TRIALS or len({value for _, value in rated}) < 2:
        return {}
    logging.getLogger("optuna").setLevel(logging.ERROR)
    copy = optuna.create_study(direction=str(study.settings.goal).lower())
    for trial, value in rated:
        own = {name: study.space[name] for name in trial.params if name in study.space.names}
        copy.add_trial(
            optuna.trial.create_trial(
                value=value,
                params={name: _encode(parameter, trial.params[name]) for name, parameter in own.items()},
                distributions={name: _distribution(parameter) for name, parameter in own.items()},
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            return dict(optuna.importance.get_param_importances(copy, evaluator=evaluator))
        except (ValueError, RuntimeError):  # Optuna's words for "too few different points"
            return {}


def _distribution(parameter: ParameterSpec) -> BaseDistribution:
    match parameter:
        case DoubleSpec(min_value=low, max_value=high, scale_type=scale):
            return FloatDistribution(low, high, log=scale is not ScaleType.UNIT_LINEAR_SCALE)
        case IntegerSpec(min_value=low, max_value=high, scale_type=scale):
            return IntDistribution(low, high, log=scale is not ScaleType.UNIT_LINEAR_SCALE)
        case DiscreteSpec(values=values):
            return IntDistribution(0, len(values) - 1)  # the index keeps the order, which categories would lose
        case CategoricalSpec(values=values):
            return CategoricalDistribution(values)
    raise TypeError(type(parameter))


def _encode(parameter: ParameterSpec, value: Any) -> Any:
    match parameter:
        case DiscreteSpec(values=values):
            return values.index(value)
        case IntegerSpec():
            return _mirrored(parameter, int(value))
        case DoubleSpec():
            return _mirrored(parameter, float(value))
    return value


def _mirrored(parameter: DoubleSpec | IntegerSpec, value: Any) -> Any:
    """A reverse logarithmic scale is a logarithmic one seen from the other end."""
    if parameter.scale_type is not ScaleType.UNIT_REVERSE_LOG_SCALE:
        return value
    mirrored = parameter.min_value + parameter.max_value - value
    return min(max(mirrored, parameter.min_value), parameter.max_value)  # rounding must not leave the range
