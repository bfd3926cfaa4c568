"""The processors of this machine, as TensorFlow and the operating system see them."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainwright_pipelines.engine.machine import nvidia_gpus, usable_cores


@dataclass(frozen=True, kw_only=True)
class Device:
    """A processor that TensorFlow can place work on."""

    name: str
    kind: str
    details: str = ""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A machine; `notes` say what is here that TensorFlow does not use."""

    cores: int
    processor: str
    memory_gb: float
    available_memory_gb: float
    tensorflow: str
    build: str
    devices: tuple[Device, ...]
    notes: tuple[str, ...]


def read_hardware() -> Hardware:
    """Ask TensorFlow, which takes seconds, and the operating system."""
    with without_native_messages():
        import tensorflow as tf

        devices = tuple(
            Device(
                name=device.name.removeprefix("/physical_device:"),
                kind=device.device_type,
                details=str(tf.config.experimental.get_device_details(device).get("device_name", "")),
            )
            for device in tf.config.list_physical_devices()
        )
    memory = psutil.virtual_memory()
    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    return Hardware(
        cores=usable_cores(),
        processor=processor_name(),
        memory_gb=memory.total / 1e9,
        available_memory_gb=memory.available / 1e9,
        tensorflow=tf.__version__,
        build=f"built for CUDA {cuda}" if cuda else "built for processors without CUDA",
        devices=devices,
        notes=tuple(_notes(devices, has_cuda=bool(cuda))),
    )


def processor_name() -> str:
    """The model of the processor, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@contextmanager
def without_native_messages() -> Iterator[None]:
    """Keep what TensorFlow's C++ says while it loads off the screen; TF_CPP_MIN_LOG_LEVEL does not stop all of it."""
    sys.stderr.flush()
    saved = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(silence)


def _notes(devices: tuple[Device, ...], *, has_cuda: bool) -> list[str]:
    gpus = nvidia_gpus()
    if any(device.kind == "GPU" for device in devices):
        return []
    if not gpus:
        return ["no GPU: work is placed on the CPU"]
    listed = "; ".join(gpus)
    if not has_cuda:
        return [f"unused GPU: {listed}; this TensorFlow is built without CUDA: pip install 'tensorflow[and-cuda]'"]
    return [f"unused GPU: {listed}; TensorFlow finds no CUDA libraries: pip install 'tensorflow[and-cuda]'"]
