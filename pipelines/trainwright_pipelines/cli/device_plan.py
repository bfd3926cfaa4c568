"""What a training run with given settings would use of this machine; starts TensorFlow here, but trains nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.training.configuration.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """A strategy and the devices of one process under it.

    Args:
        logical_devices: All that TensorFlow has after the settings were applied.
        replica_devices: Those that hold a copy of the model, or its parts.
        processes: That train together.
        threads_within: Of one operation; 0 is TensorFlow's choice.
        threads_between: Operations at the same time; 0 is TensorFlow's choice.
        notes: Settings without effect here.
    """

    strategy: str
    reason: str
    logical_devices: tuple[str, ...]
    replica_devices: tuple[str, ...]
    processes: int
    threads_within: int
    threads_between: int
    precision: str
    notes: tuple[str, ...]


def plan_devices(training: Mapping[str, Any], cluster: Mapping[str, Any]) -> DevicePlan:
    """What `training` would use on `cluster`.

    Raises:
        InvalidSetting: Such a training would be refused.
    """
    import tensorflow as tf

    from trainwright_components.training.configuration.devices import configure_devices
    from trainwright_components.training.strategies.choice import choose_strategy

    settings, spec = TrainingSettings.from_mapping(training), ClusterSpec.from_mapping(cluster)
    notes = configure_devices(settings)
    choice = choose_strategy(settings, spec)
    devices = choice.strategy.plan(settings)
    threading = tf.config.threading
    return DevicePlan(
        strategy=choice.strategy.name,
        reason=choice.reason,
        logical_devices=tuple(one.name.removeprefix("/device:") for one in tf.config.list_logical_devices()),
        replica_devices=devices,
        processes=max(1, spec.trainers),
        threads_within=threading.get_intra_op_parallelism_threads(),
        threads_between=threading.get_inter_op_parallelism_threads(),
        precision=settings.precision or "the module's own",
        notes=notes,
    )
