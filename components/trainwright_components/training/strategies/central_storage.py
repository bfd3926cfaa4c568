"""Central storage: variables in one place, used by replicas on several devices of one process."""

from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.keras_internals import stateful_layers

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def make_central_storage(devices: list[str], *, storage: str) -> "tf.distribute.Strategy":
    """A CentralStorageStrategy that keeps Keras' metrics exact.

    Args:
        devices: Of the replicas.
        storage: The device of the variables.
    """
    import tensorflow as tf

    strategy = tf.distribute.experimental.CentralStorageStrategy(devices, parameter_device=storage)
    make = strategy.extended._create_variable

    def create(next_creator: Any, **options: Any) -> Any:
        # A metric adds to what it reads: summed over replicas, what was there would count once for each of them.
        is_metric = options.get("synchronization") == tf.VariableSynchronization.ON_READ
        return next_creator(**options) if is_metric else make(next_creator, **options)

    strategy.extended._create_variable = create
    return strategy


def refuse_state(model: "keras.Model") -> None:
    """Refuse layers that change variables while they compute: Keras 3 cannot under central storage.

    Raises:
        InvalidSetting: With the names of such layers.
    """
    stateful = [f"{type(layer).__name__} {layer.name!r}" for layer in stateful_layers(model)]
    if stateful:
        raise InvalidSetting(
            f"training.strategy central_storage on several devices does not work with {', '.join(stateful)}: Keras 3 "
            "cannot update the state of layers there (batch statistics, random numbers); use mirrored, or one device"
        )
