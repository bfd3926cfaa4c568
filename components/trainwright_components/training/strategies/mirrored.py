"""Replicas on several devices of one process, each with a copy of all variables."""

from functools import cache
from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.training.configuration.devices import replica_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.strategies.protocol import OneProcess, Strategy, gpu_count

if TYPE_CHECKING:
    import tensorflow as tf


class Mirrored(OneProcess):
    """TensorFlow's MirroredStrategy."""

    name = "mirrored"
    takes_tf_keras = True

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Several devices."""
        if used := settings.devices.use:
            return f"one process, to use {', '.join(used)}" if len(used) > 1 else ""
        gpus, parts = gpu_count(), settings.logical_devices
        if gpus > 1:
            return f"one process with {gpus} GPUs"
        return f"the {'GPU' if gpus else 'CPU'} is divided into {parts} logical devices" if parts > 1 else ""

    def least_replicas(self, settings: TrainingSettings, cluster: ClusterSpec) -> int:
        """One for each device that is named or made."""
        return len(settings.devices.use) or settings.logical_devices

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """On all devices, or those that are set."""
        return _mirrored_on(tuple(replica_devices(settings)), settings.communication.all_reduce)


@cache
def _mirrored_on(devices: tuple[str, ...], wanted: str) -> "tf.distribute.Strategy":
    """One for all training runs of a process: TensorFlow 2.21 takes the collectives of a second for the first's."""
    import tensorflow as tf

    kinds = {
        "nccl": tf.distribute.NcclAllReduce,
        "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
        "reduction_to_one_device": tf.distribute.ReductionToOneDevice,
    }
    is_possible = wanted in kinds and (wanted != "nccl" or devices[0].startswith("GPU:"))
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=kinds[wanted]() if is_possible else None)


if TYPE_CHECKING:
    _: type[Strategy] = Mirrored
