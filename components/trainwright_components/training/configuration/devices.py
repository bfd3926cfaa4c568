"""Settings of this process's devices, to be applied before TensorFlow runs an operation.

TensorFlow reads its own options and `TF_GPU_ALLOCATOR` when the first operation makes the devices, not on import, so a
process that was forked after the import can still be set up.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.device_settings import DeviceSettings
from trainwright_components.training.configuration.settings import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

_ALLOCATOR_VARIABLE = "TF_GPU_ALLOCATOR"
_OF_GPUS = ("visible_gpus", "memory_growth", "memory_limit_mb", "allocator")


def configure_devices(settings: TrainingSettings) -> tuple[str, ...]:
    """Apply the device settings to this process.

    Returns:
        What has no effect here, in words.

    Raises:
        InvalidSetting: TensorFlow has already started with other settings, or there is no such device.
    """
    import tensorflow as tf

    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    devices = settings.devices
    if devices.allocator and os.environ.get(_ALLOCATOR_VARIABLE) != devices.allocator:
        _before_start("devices.allocator", _refuse_when_started)
        os.environ[_ALLOCATOR_VARIABLE] = devices.allocator
    gpus = _visible_gpus(devices)
    if gpus:
        _configure_gpus(gpus, settings)
    elif settings.logical_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        _divide("logical_devices", cpu, [tf.config.LogicalDeviceConfiguration()] * settings.logical_devices)
    _set_threads(settings)
    tf.config.set_soft_device_placement(devices.soft_placement)
    if devices.log_placement:
        tf.debugging.set_log_device_placement(True)
    return () if gpus else tuple(_without_effect(settings))


def configure_without_gpus(settings: TrainingSettings) -> tuple[str, ...]:
    """As `configure_devices`, for a process that steers others or holds their variables: their GPUs stay free."""
    leave_gpus_to_members()
    plain = DeviceSettings(
        inter_op_threads=settings.devices.inter_op_threads,
        soft_placement=settings.devices.soft_placement,
        log_placement=settings.devices.log_placement,
    )
    configure_devices(replace(settings, logical_devices=1, devices=plain))
    return () if _gpus() else tuple(_without_effect(settings))


def configuration_of_server() -> "config_pb2.ConfigProto":
    """What was configured so far, for a `tf.distribute.Server`, which makes devices of its own."""
    from tensorflow.python.eager import context  # the public API tells single settings only

    return context.context().config


def leave_gpus_to_members() -> None:
    """Keep a process that only starts others from taking their GPU memory; nothing if it already has."""
    import tensorflow as tf

    if not _has_started():
        tf.config.set_visible_devices([], "GPU")


def replica_devices(settings: TrainingSettings) -> list[str]:
    """Names of the logical devices that replicas are on, such as `GPU:0`; this starts TensorFlow.

    Raises:
        InvalidSetting: `training.devices.use` names a device that is not there.
    """
    there = _logical_devices()
    check_devices(settings.devices.use, where="training.devices.use")
    gpus = [name for name in there if name.startswith("GPU:")]
    return list(settings.devices.use) or gpus or [name for name in there if name.startswith("CPU:")]


def check_devices(names: Iterable[str], *, where: str) -> None:
    """Refuse names of logical devices that are not there; this starts TensorFlow."""
    there = _logical_devices()
    if missing := [name for name in names if name not in there]:
        raise InvalidSetting(
            f"{where}: there is no device {missing[0]!r}; there are {', '.join(there)}"
            " (training.logical_devices divides a device into several)"
        )


def _logical_devices() -> list[str]:
    import tensorflow as tf

    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]


def _gpus() -> "list[tf.config.PhysicalDevice]":
    import tensorflow as tf

    gpus: list[tf.config.PhysicalDevice] = tf.config.list_physical_devices("GPU")
    return gpus


def _visible_gpus(devices: DeviceSettings) -> "list[tf.config.PhysicalDevice]":
    import tensorflow as tf

    gpus = _gpus()
    if devices.visible_gpus is None:
        return [gpu for gpu in gpus if gpu in tf.config.get_visible_devices("GPU")]
    if not gpus:
        return []
    if missing := [number for number in devices.visible_gpus if number >= len(gpus)]:
        raise InvalidSetting(
            f"training.devices.visible_gpus: there is no GPU {missing[0]}; TensorFlow sees {len(gpus)}, numbered from 0"
        )
    chosen = [gpus[number] for number in devices.visible_gpus]
    _before_start("devices.visible_gpus", lambda: tf.config.set_visible_devices(chosen, "GPU"))
    return chosen


def _configure_gpus(gpus: "list[tf.config.PhysicalDevice]", settings: TrainingSettings) -> None:
    import tensorflow as tf

    devices, parts = settings.devices, settings.logical_devices
    if parts > 1 and not devices.memory_limit_mb:
        raise InvalidSetting(
            f"training.logical_devices {parts} divides each GPU: say how much memory each part gets with "
            "training.devices.memory_limit_mb"
        )
    for gpu in gpus:
        if devices.memory_growth:
            grow = partial(tf.config.experimental.set_memory_growth, gpu, True)
            _before_start("devices.memory_growth", grow)
        if devices.memory_limit_mb:
            part = tf.config.LogicalDeviceConfiguration(memory_limit=devices.memory_limit_mb)
            _divide("devices.memory_limit_mb", gpu, [part] * parts)


def _divide(name: str, device: "tf.config.PhysicalDevice", parts: "list[tf.config.LogicalDeviceConfiguration]") -> None:
    import tensorflow as tf

    if tf.config.get_logical_device_configuration(device) != parts:
        _before_start(name, lambda: tf.config.set_logical_device_configuration(device, parts))


def _set_threads(settings: TrainingSettings) -> None:
    import tensorflow as tf

    threading = tf.config.threading
    within, between = settings.threads, settings.devices.inter_op_threads or settings.threads
    if within and threading.get_intra_op_parallelism_threads() != within:
        _before_start("threads", lambda: threading.set_intra_op_parallelism_threads(within))
    if between and threading.get_inter_op_parallelism_threads() != between:
        _before_start("devices.inter_op_threads", lambda: threading.set_inter_op_parallelism_threads(between))


def _without_effect(settings: TrainingSettings) -> list[str]:
    unset = DeviceSettings()
    names = [f"devices.{name}" for name in _OF_GPUS if getattr(settings.devices, name) != getattr(unset, name)]
    names += [
        f"communication.{name}"
        for name in ("all_reduce", "implementation")
        if getattr(settings.communication, name) == "nccl"
    ]
    return [f"training.{name} has no effect: TensorFlow sees no GPU" for name in names]


def _has_started() -> bool:
    from tensorflow.python.eager import context  # the public API asks only by failing

    return bool(context.context()._initialized)


def _refuse_when_started() -> None:
    if _has_started():
        raise RuntimeError


def _before_start(name: str, apply: Callable[[], None]) -> None:
    try:
        apply()
    except RuntimeError as error:
        raise InvalidSetting(
            f"training.{name} cannot be changed once TensorFlow has started in a process; "
            'train in a new one, for example with cluster={"chief": 1}'
        ) from error
