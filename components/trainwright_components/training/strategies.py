"""Which tf.distribute strategy a training runs under, and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.servers import prepare_to_connect
from trainwright_components.training.settings import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A strategy by name, and the reason in words."""

    name: str
    reason: str


def choose_strategy(settings: TrainingSettings, cluster: ClusterSpec) -> Choice:
    """The strategy that the settings ask for, or the one that fits the cluster and the devices.

    Raises:
        InvalidSetting: The strategy cannot run on such a cluster.
    """
    trainers = cluster.trainers
    if cluster.evaluator.replicas:
        raise InvalidSetting("cluster.evaluator is not supported yet; use chief, worker and ps")
    name = settings.strategy
    if cluster.has_parameter_servers:
        if name not in ("auto", "parameter_server"):
            raise InvalidSetting(f"training.strategy {name} has no parameter servers; leave cluster.ps out")
        reason = "as set" if name != "auto" else f"the cluster has {cluster.ps.replicas} parameter servers"
        return Choice(name="parameter_server", reason=reason)
    if name == "parameter_server":
        raise InvalidSetting('training.strategy parameter_server needs a cluster such as {"worker": 2, "ps": 1}')
    if name == "auto":
        return _automatic(settings, trainers)
    if name == "multi_worker_mirrored" and trainers < 2:
        raise InvalidSetting('training.strategy multi_worker_mirrored needs a cluster, such as {"worker": 2}')
    if name in ("one_device", "mirrored") and trainers > 1:
        raise InvalidSetting(
            f"training.strategy {name} uses one process, but the cluster has {trainers}; "
            "use multi_worker_mirrored or leave the cluster out"
        )
    return Choice(name=name, reason="as set")


def _automatic(settings: TrainingSettings, trainers: int) -> Choice:
    if trainers > 1:
        return Choice(name="multi_worker_mirrored", reason=f"the cluster has {trainers} training members")
    gpus = _gpu_count()
    if gpus > 1:
        return Choice(name="mirrored", reason=f"one process with {gpus} GPUs")
    if settings.logical_devices > 1:
        return Choice(name="mirrored", reason=f"the CPU is divided into {settings.logical_devices} logical devices")
    return Choice(name="one_device", reason=f"one process with one {'GPU' if gpus else 'CPU'}")


def _gpu_count() -> int:
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def build_strategy(choice: Choice) -> "tf.distribute.Strategy":
    """Make the strategy; under a cluster this waits for the other members, which `TF_CONFIG` names."""
    import tensorflow as tf

    if choice.name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if choice.name == "parameter_server":
        prepare_to_connect()
        return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())
    if choice.name == "multi_worker_mirrored":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()
