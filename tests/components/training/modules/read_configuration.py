"""Run by a fresh process: apply settings, with GPUs that are not there, and write down what TensorFlow has.

A GPU is made known to TensorFlow's context by hand; its configuration is then what a machine with GPUs would get, but
no operation can run.
"""

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from trainwright_components.errors import TrainwrightError
from trainwright_components.training.configuration.devices import (
    configuration_of_server,
    configure_devices,
    configure_without_gpus,
)
from trainwright_components.training.configuration.settings import TrainingSettings


def add_gpus(count: int) -> None:
    inner = context.context()
    inner._initialize_physical_devices()
    for number in range(count):
        gpu = context.PhysicalDevice(f"/physical_device:GPU:{number}", "GPU")
        inner._physical_devices.append(gpu)
        inner._physical_device_to_index[gpu] = number
        inner._visible_device_list.append(gpu)
        inner._memory_growth_map[gpu] = None


def read(*, has_gpus: bool) -> dict[str, Any]:
    config = context.context().config
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return {
        "growth": config.gpu_options.allow_growth,
        "limits": [list(one.memory_limit_mb) for one in config.gpu_options.experimental.virtual_devices],
        "visible": config.gpu_options.visible_device_list,
        "allocator": (getenv(b"TF_GPU_ALLOCATOR") or b"").decode(),
        "intra": config.intra_op_parallelism_threads,
        "inter": config.inter_op_parallelism_threads,
        "soft": config.allow_soft_placement,
        "log": config.log_device_placement,
        "cpus": None if has_gpus else len(tf.config.list_logical_devices("CPU")),
    }


case = json.loads(os.environ["CASE"])
add_gpus(case["gpus"])
try:
    configure = configure_without_gpus if case["without_gpus"] else configure_devices
    notes = configure(TrainingSettings.from_mapping(case["settings"]))
    counted = dict(configuration_of_server().device_count)
    result = {**read(has_gpus=case["gpus"] > 0), "notes": notes, "gpus": counted["GPU"]}
except TrainwrightError as error:
    result = {"error": str(error)}
Path(case["result"]).write_text(json.dumps(result))
