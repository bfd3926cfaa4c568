"""Reach a TPU and set it up. Built from TensorFlow's documentation; no TPU was there to run it on."""

import logging
from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

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


def check_fixed_shapes(settings: TrainingSettings, cores: int) -> None:
    """Refuse batches of changing shape, since a TPU compiles for one.

    Raises:
        InvalidSetting: Partial batches, or a batch that `cores` replicas cannot share equally.
    """
    if not settings.drop_remainder or settings.batch_size % cores:
        raise InvalidSetting(
            f"training.strategy tpu needs shares of one size: set training.drop_remainder, and a training.batch_size "
            f"that its {cores} cores divide; got {settings.batch_size}"
        )
    logger.warning("tpu: the last partial batch of the validation split is left out")
