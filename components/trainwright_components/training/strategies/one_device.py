"""One process on one device."""

from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.training.configuration.devices import replica_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.strategies.protocol import OneProcess, Strategy, gpu_count, refuse_several_devices

if TYPE_CHECKING:
    import tensorflow as tf


class OneDevice(OneProcess):
    """What trains where nothing asks for more."""

    name = "one_device"
    takes_tf_keras = True

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse several devices too."""
        super().check(settings, cluster)
        refuse_several_devices(self.name, settings)

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Always one."""
        if used := settings.devices.use:
            return f"one process, to use {', '.join(used)}"
        return f"one process with one {'GPU' if gpu_count() else 'CPU'}"

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """TensorFlow's own choice of device, unless one is set."""
        import tensorflow as tf

        if settings.devices.use:
            return tf.distribute.OneDeviceStrategy(replica_devices(settings)[0])
        return tf.distribute.get_strategy()

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """The device."""
        return super().plan(settings)[:1]


if TYPE_CHECKING:
    _: type[Strategy] = OneDevice
