"""Threads, logical devices and determinism of this process, to be applied before TensorFlow runs an operation."""

from collections.abc import Callable

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.settings import TrainingSettings


def configure_devices(settings: TrainingSettings) -> None:
    """Apply the device settings to this process.

    Raises:
        InvalidSetting: TensorFlow has already started with other settings.
    """
    import tensorflow as tf

    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    if settings.threads and tf.config.threading.get_intra_op_parallelism_threads() != settings.threads:
        _before_start("threads", lambda: tf.config.threading.set_intra_op_parallelism_threads(settings.threads))
        _before_start("threads", lambda: tf.config.threading.set_inter_op_parallelism_threads(settings.threads))
    if settings.logical_devices > 1 and not _has_logical_devices(settings.logical_devices):
        _before_start("logical_devices", lambda: _divide_cpu(settings.logical_devices))


def _divide_cpu(parts: int) -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(parts)])


def _has_logical_devices(parts: int) -> bool:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    return len(tf.config.get_logical_device_configuration(cpu) or ()) == parts


def _before_start(name: str, apply: Callable[[], None]) -> None:
    try:
        apply()
    except RuntimeError as error:
        raise InvalidSetting(
            f"training.{name} cannot be changed once TensorFlow has started in a process; "
            'train in a new one, for example with cluster={"chief": 1}'
        ) from error
