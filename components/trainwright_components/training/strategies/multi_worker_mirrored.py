"""Replicas in several processes, each with a copy of all variables, that take each step together."""

from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.strategies.protocol import (
    OneProcess,
    Strategy,
    devices_of_member,
    gpu_count,
    refuse_model_parallel,
    refuse_parameter_servers,
)

if TYPE_CHECKING:
    import tensorflow as tf


class MultiWorkerMirrored(OneProcess):
    """TensorFlow's MultiWorkerMirroredStrategy."""

    name = "multi_worker_mirrored"
    takes_tf_keras = True

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse one process, and a choice of devices that would be of one process."""
        refuse_parameter_servers(self.name, cluster)
        if cluster.trainers < 2:
            raise InvalidSetting(f'training.strategy {self.name} needs a cluster, such as {{"worker": 2}}')
        if settings.devices.use:
            raise InvalidSetting(
                "training.devices.use is for one process: each member of a cluster takes all its GPUs, or its CPU; "
                "choose them with training.devices.visible_gpus"
            )
        refuse_model_parallel(self.name, settings)

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Several members that train."""
        is_cluster = cluster.trainers > 1 and not cluster.has_parameter_servers
        return f"the cluster has {cluster.trainers} training members" if is_cluster else ""

    def least_replicas(self, settings: TrainingSettings, cluster: ClusterSpec) -> int:
        """One in each member: that is what one without GPUs has."""
        return cluster.trainers

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """With the collectives that are set."""
        import tensorflow as tf

        wanted = settings.communication
        is_possible = wanted.implementation != "nccl" or gpu_count()
        implementation = wanted.implementation.upper() if is_possible else "AUTO"
        options = tf.distribute.experimental.CommunicationOptions(
            bytes_per_pack=wanted.bytes_per_pack,
            timeout_seconds=wanted.timeout_s or None,
            implementation=tf.distribute.experimental.CommunicationImplementation[implementation],
        )
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """All GPUs of a member, or its CPU."""
        return devices_of_member(settings)


if TYPE_CHECKING:
    _: type[Strategy] = MultiWorkerMirrored
