"""Central storage: variables in one place, used by replicas on several devices of one process."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.devices import replica_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.keras_internals import stateful_layers
from trainwright_components.training.strategies.protocol import OneProcess, Spread, Strategy

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class CentralStorage(OneProcess):
    """TensorFlow's CentralStorageStrategy."""

    name = "central_storage"
    needs_all_variables = True

    def least_replicas(self, settings: TrainingSettings, cluster: ClusterSpec) -> int:
        """One for each device that is named or made."""
        return len(settings.devices.use) or settings.logical_devices

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """Variables on the CPU, or on the only device."""
        devices = replica_devices(settings)
        return _make_exact(devices, storage=devices[0] if len(devices) == 1 else "CPU:0")

    def spread(self, settings: TrainingSettings, *, replicas: int) -> Spread:
        """Where TensorFlow puts them; layers with state are refused."""
        return _Stateless(replicas=replicas)


@dataclass(frozen=True, kw_only=True)
class _Stateless:
    replicas: int

    def variables(self) -> AbstractContextManager[None]:
        return nullcontext()

    def apply(self, model: "keras.Model") -> None:
        if self.replicas > 1:
            refuse_state(model)


def _make_exact(devices: list[str], *, storage: str) -> "tf.distribute.Strategy":
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


if TYPE_CHECKING:
    _: type[Strategy] = CentralStorage
