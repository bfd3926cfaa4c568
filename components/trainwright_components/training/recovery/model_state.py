"""All variables of a model under training as arrays, and back: weights, optimizer, metrics, random state."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidModule
from trainwright_components.training.keras_internals import optimizers_of
from trainwright_components.training.recovery.checkpoints import Arrays
from trainwright_components.user_module.keras_variables import (
    metric_variables,
    path_of,
    random_variables,
    tensorflow_variable,
    value_of,
)

if TYPE_CHECKING:
    import keras

_MODEL = "model"
MODEL_PREFIX = f"{_MODEL}."
_METRICS = "metrics"
_MOST_SHOWN = 3


def read_state(model: "keras.Model") -> Arrays:
    """Every variable's value. Metrics are summed over the replicas, so every member of a cluster has to call this."""
    return {name: _array(tensorflow_variable(variable)) for name, variable in _variables(model).items()}


def write_state(model: "keras.Model", arrays: Arrays) -> bool:
    """Set every variable from what `read_state` gave; all metrics or none, since a model may get others on the way.

    Returns:
        Whether the metrics were set.

    Raises:
        InvalidModule: The model has other variables than the one that was read.
    """
    variables = _variables(model)
    metrics = {name for name in {*variables, *arrays} if name.startswith(_METRICS)}
    has_metrics = not _differences(*({name: of[name] for name in metrics & set(of)} for of in (variables, arrays)))
    if not has_metrics:
        variables, arrays = ({name: of[name] for name in set(of) - metrics} for of in (variables, arrays))
    if differing := _differences(variables, arrays):
        shown = "; ".join(differing[:_MOST_SHOWN]) + ("; ..." if len(differing) > _MOST_SHOWN else "")
        raise InvalidModule(
            f"the checkpoint does not fit the model that build_model gives now: {shown}; train into a new folder"
        )
    for name, variable in variables.items():
        _assign(variable, arrays[name])
    return has_metrics


def find_not_finite(model: "keras.Model") -> str:
    """The path of a trainable weight that holds NaN or infinity; empty if none does. Takes microseconds per weight."""
    return next((path_of(variable) for variable in model.trainable_variables if not _is_finite(variable)), "")


def _is_finite(variable: Any) -> bool:
    import tensorflow as tf

    value = tensorflow_variable(variable)
    if not value.dtype.is_floating:
        return True
    if _is_sharded(value):
        return bool(np.isfinite(_array(value)).all())
    try:
        tf.debugging.check_numerics(value, "")  # one operation, four times as fast as is_finite and reduce_all
    except tf.errors.InvalidArgumentError:
        return False
    return True


def read_rate(model: "keras.Model") -> float:
    """The learning rate of the next step."""
    import tensorflow as tf

    rate = model.optimizer.learning_rate
    return float(rate if isinstance(rate, tf.Tensor) else value_of(rate))


def read_weights(model: "keras.Model") -> Arrays:
    """The values that a prediction depends on."""
    return {str(number): _array(tensorflow_variable(variable)) for number, variable in enumerate(model.variables)}


def write_weights(model: "keras.Model", weights: Arrays) -> None:
    """Set what `read_weights` gave."""
    for number, variable in enumerate(model.variables):
        _assign(variable, weights[str(number)])


def _variables(model: "keras.Model") -> dict[str, Any]:
    """By place, not by name: Keras numbers the layers of a process through, so that the same model gets other names."""
    groups = {_MODEL: model.variables, _METRICS: metric_variables(model), "random": random_variables(model)}
    for number, optimizer in enumerate(optimizers_of(model)):
        groups[f"optimizer{number or ''}"] = optimizer.variables
    return {
        f"{group}.{number}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _differences(variables: Mapping[str, Any], arrays: Arrays) -> list[str]:
    """In words, each variable that the checkpoint has not, or of another shape, and those that only it has."""
    found = []
    for name, variable in variables.items():
        shape = tuple(variable.shape)
        if name not in arrays:
            found.append(f"variable {path_of(variable)} of shape {shape} is not in it")
        elif arrays[name].shape != shape:
            found.append(f"variable {path_of(variable)} has shape {shape}, there {arrays[name].shape}")
    groups = {name.partition(".")[0] for name in variables}
    for name in arrays:
        if name not in variables and name.partition(".")[0] in groups:
            group, _, number = name.partition(".")
            found.append(f"it holds variable {number} of the {group}, of shape {arrays[name].shape}, which is gone")
    return found


def _array(value: Any) -> NDArray[Any]:
    import tensorflow as tf

    array: NDArray[Any] = (value if _is_sharded(value) else tf.convert_to_tensor(value)).numpy()
    return array


def _is_sharded(value: Any) -> bool:
    """Whether only the variable itself brings its parts together, and a tensor of it does not."""
    return hasattr(value, "layout")


def _assign(variable: Any, value: NDArray[Any]) -> None:
    import tensorflow as tf

    is_stored_as_bits = variable.dtype == "bfloat16" and value.dtype == np.uint16
    variable.assign(value.view(tf.bfloat16.as_numpy_dtype) if is_stored_as_bits else value)
