"""Prove, before the first step, that metrics of the user's own only add to what they hold.

Replicas, and workers beside parameter servers, each count their own rows, and what they counted is added up: right for
totals and counts, as those of Keras are, and wrong for a maximum or a running mean. A step that only adds adds the same
whatever the state was before it; so it is taken from several states, on values of which none are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidModule
from trainwright_components.training.keras_internals import each_metric
from trainwright_components.training.recovery.model_state import read_state, write_state
from trainwright_components.user_module.keras_variables import path_of, tensorflow_variable, value_of

if TYPE_CHECKING:
    import keras

_SAME = 1e-3  # of what a step adds: sums of float32 depend on their order
_ROUNDING = 1e-5  # of what was there before
_STATED = ("mean", "only_first_replica")

Array = NDArray[Any]


def metrics_to_try(model: "keras.Model") -> list[Any]:
    """Metrics that are not of Keras' own classes, which add."""
    return [one for one in each_metric(model.metrics) if not type(one).__module__.startswith(("keras.", "tf_keras."))]


def check_adding(
    model: "keras.Model", metrics: Sequence[Any], take_step: Callable[[], Any], *, is_stated_taken: bool = False
) -> None:
    """Take a step of `model` from several states of `metrics`; afterwards all variables are as they were.

    Args:
        model: Its variables are all there.
        metrics: Those of `model` to look at.
        take_step: Takes the same step each time.
        is_stated_taken: Whether a state may be brought together otherwise, where its `aggregation` says so.

    Raises:
        InvalidModule: A metric does not only add.
    """
    by_metric = [
        (metric, variable)
        for metric in metrics
        for variable in metric.variables
        if not (is_stated_taken and getattr(variable, "aggregation", None) in _STATED)
    ]
    variables = list({id(variable): variable for _, variable in by_metric}.values())
    if not variables:
        return
    kept = read_state(model)

    def added(scale: float) -> list[Array]:
        write_state(model, kept)
        for place, variable in enumerate(variables):
            _set(variable, scale * (1 + place / 8))
        before = [_read(variable) for variable in variables]
        take_step()
        return [_read(variable) - value for variable, value in zip(variables, before, strict=True)]

    try:
        findings = list(_compare(added))
    finally:
        write_state(model, kept)
    for variable, is_adding in zip(variables, findings, strict=True):
        if not is_adding:
            metric = next(metric for metric, one in by_metric if one is variable)
            raise InvalidModule(_refusal(metric, variable))


def _compare(added: Callable[[float], list[Array]]) -> Iterator[bool]:
    """For each variable, whether the same is added from every state."""
    nothing, again = added(0.0), added(0.0)
    most = max((float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) for one in nothing), default=0.0)
    is_steady = all(_is_near(one, other, _SAME * most + 1e-6) for one, other in zip(nothing, again, strict=True))
    scale = (8 if is_steady else 1024) * (1 + most)
    tolerance = (
        _SAME * most + _ROUNDING * scale if is_steady else scale / 128
    )  # random numbers differ from step to step
    above, below = added(scale), added(-scale)
    for one, more, less in zip(nothing, above, below, strict=True):
        yield _is_near(one, more, tolerance) and _is_near(one, less, tolerance)


def _is_near(one: Array, other: Array, tolerance: float) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True))


def _read(variable: Any) -> Array:
    return np.asarray(value_of(variable), np.float64)


def _set(variable: Any, value: float) -> None:
    held = tensorflow_variable(variable)
    held.assign(np.full(held.shape, value, held.dtype.as_numpy_dtype))


def _refusal(metric: Any, variable: Any) -> str:
    return (
        f"the metric {metric.name!r} does not only add to its state {path_of(variable)}, so that what several replicas "
        "or workers count cannot be added up; count with assign_add alone (a mean as a total and a count, of which "
        "result() makes the number), leave the metric out, or train on one device (training.strategy one_device)"
    )
