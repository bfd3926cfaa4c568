"""All variables of a model under training as arrays, and back: weights, optimizer, metrics, random state."""

from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.training.checkpoints import Arrays

if TYPE_CHECKING:
    import keras


def read_state(model: "keras.Model") -> Arrays:
    """Every variable's value. Metrics are summed over the replicas, so every member of a cluster has to call this."""
    import tensorflow as tf

    return {name: tf.convert_to_tensor(variable.value).numpy() for name, variable in _variables(model).items()}


def write_state(model: "keras.Model", arrays: Arrays) -> None:
    """Set every variable from what `read_state` gave.

    Raises:
        InvalidModule: The model has other variables than the one that was read.
    """
    variables = _variables(model)
    for name, variable in variables.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            raise InvalidModule(
                f"the checkpoint does not fit the model that build_model gives now: variable {variable.path} differs; "
                "train into a new folder"
            )
    for name, variable in variables.items():
        value = arrays[name]
        if variable.dtype == "bfloat16":
            value = value.view(_bfloat16())
        variable.assign(value)


def _variables(model: "keras.Model") -> dict[str, Any]:
    """By place, not by name: Keras numbers the layers of a process through, so that the same model gets other names."""
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}
    return {
        f"{group}.{number}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _bfloat16() -> Any:
    import tensorflow as tf

    return tf.bfloat16.as_numpy_dtype
