"""Which tf.distribute strategy a training runs under, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.devices import check_devices, replica_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.members.servers import prepare_to_connect
from trainwright_components.training.strategies.central_storage import make_central_storage
from trainwright_components.training.strategies.tpu import connect_tpu

if TYPE_CHECKING:
    import tensorflow as tf

_OF_ONE_PROCESS = ("one_device", "mirrored", "central_storage", "tpu", "placement", "dtensor")
_ON_ALL_DEVICES = ("mirrored", "central_storage")
_MODEL_PARALLEL = (
    ("placement", "placement", '{"block_2_*": "GPU:1"}'),
    ("dtensor", "layout", '{"dense/kernel": 1}'),
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A strategy by name, and the reason in words."""

    name: str
    reason: str


def choose_strategy(settings: TrainingSettings, cluster: ClusterSpec) -> Choice:
    """The strategy that the settings ask for, or the one that fits the cluster and the devices.

    Raises:
        InvalidSetting: The strategy cannot run on such a cluster, or would have replicas without rows.
    """
    choice = _choose(settings, cluster)
    check_replicas(choice.name, _least_replicas(choice.name, settings, cluster), settings)
    return choice


def check_replicas(name: str, replicas: int, settings: TrainingSettings) -> None:
    """Refuse more replicas than a batch has rows.

    Raises:
        InvalidSetting: There are more.
    """
    rows = settings.batch_size
    if replicas > rows:
        raise InvalidSetting(
            f"{replicas} replicas of strategy {name}, but training.batch_size is {rows}: at most {rows} of them get "
            "rows; raise it, or use fewer devices (training.logical_devices, training.devices) or cluster members"
        )


def _least_replicas(name: str, settings: TrainingSettings, cluster: ClusterSpec) -> int:
    """What is known before TensorFlow makes the devices: more GPUs make more."""
    if name == "multi_worker_mirrored":
        return cluster.trainers  # a member without GPUs has one replica
    return len(settings.devices.use) or settings.logical_devices if name in _ON_ALL_DEVICES else 1


def _choose(settings: TrainingSettings, cluster: ClusterSpec) -> Choice:
    trainers = cluster.trainers
    name = settings.strategy
    if cluster.has_parameter_servers:
        if name not in ("auto", "parameter_server"):
            raise InvalidSetting(f"training.strategy {name} has no parameter servers; leave cluster.ps out")
        reason = "as set" if name != "auto" else "the cluster has parameter servers"
        return Choice(name="parameter_server", reason=reason)
    if name == "parameter_server":
        raise InvalidSetting('training.strategy parameter_server needs a cluster such as {"worker": 2, "ps": 1}')
    if name == "auto":
        return _automatic(settings, trainers)
    if name == "multi_worker_mirrored" and trainers < 2:
        raise InvalidSetting('training.strategy multi_worker_mirrored needs a cluster, such as {"worker": 2}')
    if name in _OF_ONE_PROCESS and trainers > 1:
        raise InvalidSetting(
            f"training.strategy {name} uses one process, but the cluster has {trainers}; "
            "use multi_worker_mirrored or leave the cluster out"
        )
    _check_alone(name, settings)
    return Choice(name=name, reason="as set")


def _check_alone(name: str, settings: TrainingSettings) -> None:
    used = settings.devices.use
    if name in ("one_device", "placement") and len(used) > 1:
        raise InvalidSetting(
            f"training.strategy {name} takes one device from training.devices.use, which has {len(used)}; use mirrored"
        )
    if name == "multi_worker_mirrored" and used:
        raise InvalidSetting(
            "training.devices.use is for one process: each member of a cluster takes all its GPUs, or its CPU; choose "
            "them with training.devices.visible_gpus"
        )
    for strategy, setting, example in _MODEL_PARALLEL:
        is_given = bool(getattr(settings, setting))
        if name == strategy and not is_given:
            raise InvalidSetting(f"training.strategy {name} needs training.{setting}, such as {example}")
        if name != strategy and is_given:
            raise InvalidSetting(
                f"training.{setting} spreads one model over devices, which is training.strategy {strategy}; {name} "
                "does it otherwise: choose one of them"
            )


def _automatic(settings: TrainingSettings, trainers: int) -> Choice:
    if trainers > 1:
        _check_alone("multi_worker_mirrored", settings)
        return Choice(name="multi_worker_mirrored", reason=f"the cluster has {trainers} training members")
    for name, setting, _ in _MODEL_PARALLEL:
        if getattr(settings, setting):
            _check_alone(name, settings)
            return Choice(name=name, reason=f"training.{setting} spreads the model over devices")
    used, parts = settings.devices.use, settings.logical_devices
    if used:
        name = "mirrored" if len(used) > 1 else "one_device"
        return Choice(name=name, reason=f"one process, to use {', '.join(used)}")
    gpus = _gpu_count()
    if gpus > 1:
        return Choice(name="mirrored", reason=f"one process with {gpus} GPUs")
    if parts > 1:
        kind = "GPU" if gpus else "CPU"
        return Choice(name="mirrored", reason=f"the {kind} is divided into {parts} logical devices")
    return Choice(name="one_device", reason=f"one process with one {'GPU' if gpus else 'CPU'}")


def _gpu_count() -> int:
    import tensorflow as tf

    return len(tf.config.get_visible_devices("GPU"))


def build_strategy(choice: Choice, settings: TrainingSettings) -> "tf.distribute.Strategy":
    """Make the strategy; under a cluster this waits for the other members, which `TF_CONFIG` names.

    Raises:
        InvalidSetting: There is no such device.
    """
    return _BUILDERS[choice.name](settings)


def _one_device(settings: TrainingSettings) -> "tf.distribute.Strategy":
    import tensorflow as tf

    if settings.devices.use:
        return tf.distribute.OneDeviceStrategy(replica_devices(settings)[0])
    return _default()


def _default() -> "tf.distribute.Strategy":
    import tensorflow as tf

    return tf.distribute.get_strategy()


def check_placement(settings: TrainingSettings) -> None:
    """Refuse a placement on devices that are not there; this starts TensorFlow."""
    check_devices(settings.placement.values(), where="training.placement")


def _placement(settings: TrainingSettings) -> "tf.distribute.Strategy":
    check_placement(settings)
    return _one_device(settings)


def _mirrored(settings: TrainingSettings) -> "tf.distribute.Strategy":
    return _mirrored_on(tuple(replica_devices(settings)), settings.communication.all_reduce)


@cache
def _mirrored_on(devices: tuple[str, ...], wanted: str) -> "tf.distribute.Strategy":
    """One for all trainings of a process: TensorFlow 2.21 takes the collectives of a second for those of the first."""
    import tensorflow as tf

    kinds = {
        "nccl": tf.distribute.NcclAllReduce,
        "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
        "reduction_to_one_device": tf.distribute.ReductionToOneDevice,
    }
    is_possible = wanted in kinds and (wanted != "nccl" or devices[0].startswith("GPU:"))
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=kinds[wanted]() if is_possible else None)


def _central_storage(settings: TrainingSettings) -> "tf.distribute.Strategy":
    devices = replica_devices(settings)
    return make_central_storage(devices, storage=devices[0] if len(devices) == 1 else "CPU:0")


def _multi_worker_mirrored(settings: TrainingSettings) -> "tf.distribute.Strategy":
    import tensorflow as tf

    wanted = settings.communication
    is_possible = wanted.implementation != "nccl" or _gpu_count()
    implementation = wanted.implementation.upper() if is_possible else "AUTO"
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=wanted.bytes_per_pack,
        timeout_seconds=wanted.timeout_s or None,
        implementation=tf.distribute.experimental.CommunicationImplementation[implementation],
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _parameter_server(_: TrainingSettings) -> "tf.distribute.Strategy":
    import tensorflow as tf

    prepare_to_connect()
    return tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())


_BUILDERS: dict[str, "Callable[[TrainingSettings], tf.distribute.Strategy]"] = {
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker_mirrored": _multi_worker_mirrored,
    "parameter_server": _parameter_server,
    "central_storage": _central_storage,
    "tpu": lambda settings: connect_tpu(settings.tpu),
    "placement": _placement,
    "dtensor": lambda _: _default(),
}
