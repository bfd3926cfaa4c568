"""Reach a TPU and set it up. Built from TensorFlow's documentation; no TPU was there to run it on."""

from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting

if TYPE_CHECKING:
    import tensorflow as tf

LOCAL = "local"  # the TPU of this virtual machine


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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidSetting(
            f"training.strategy tpu: no TPU {name!r} can be used from here ({reason}); set training.tpu to its name or "
            "grpc:// address, run on a TPU machine, or use another strategy"
        ) from error
