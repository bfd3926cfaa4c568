"""Reach a TPU and set it up. Built from TensorFlow's documentation; no TPU was there to run it on."""

from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting, first_line
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.strategies.protocol import OneProcess, Strategy

if TYPE_CHECKING:
    import tensorflow as tf

LOCAL = "local"  # the TPU of this virtual machine


class Tpu(OneProcess):
    """TensorFlow's TPUStrategy."""

    name = "tpu"
    has_fixed_shapes = True

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """On the TPU that is set."""
        return connect_tpu(settings.tpu)

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """None: the TPU's cores are not asked before a training run."""
        return ()


def connect_tpu(name: str) -> "tf.distribute.Strategy":
    """The strategy of the TPU `name`: its name in the project, its `grpc://` address, or `local`.

    Raises:
        InvalidSetting: There is no such TPU, or it cannot be reached.
    """
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != LOCAL:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise InvalidSetting(
            f"training.strategy tpu: no TPU {name!r} can be used from here ({first_line(error)}); set training.tpu to "
            "its name or grpc:// address, run on a TPU machine, or use another strategy"
        ) from error


if TYPE_CHECKING:
    _: type[Strategy] = Tpu
