"""Variables of models and optimizers under one face, for Keras 3 wraps them and tf_keras does not."""

from typing import TYPE_CHECKING, Any

from trainwright_components.user_module.keras_kind import is_tf_keras

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def path_of(variable: Any) -> str:
    """The name that a person knows it by, such as `dense/kernel`."""
    return str(getattr(variable, "path", None) or variable.name.removesuffix(":0"))


def value_of(variable: Any) -> "tf.Tensor":
    """Its value: within a replica that replica's own, outside of all replicas the one that they make together."""
    import tensorflow as tf

    return tf.convert_to_tensor(variable if isinstance(variable, tf.Variable) else variable.value)


def tensorflow_variable(variable: Any) -> "tf.Variable":
    """What holds it."""
    import tensorflow as tf

    return variable if isinstance(variable, tf.Variable) else variable.value


def metric_variables(model: "keras.Model") -> list[Any]:
    """Counts and totals of the model's metrics and its loss."""
    if not is_tf_keras(model):
        return list(model.metrics_variables)
    return [variable for metric in model.metrics for variable in metric.variables]


def random_variables(model: "keras.Model") -> list[Any]:
    """States of random generators that are not variables of the model, as those of Dropout in tf_keras."""
    if not is_tf_keras(model):
        return []
    makers = (getattr(layer, "_random_generator", None) for layer in model._flatten_layers())
    generators = (getattr(maker, "_generator", None) for maker in makers)
    return [generator.state for generator in generators if generator is not None]
