"""Have TensorFlow look for devices in a process, without what it says about machines that have no GPU."""

import os
import re
import sys
from pathlib import Path

from trainwright_components.quiet import LEVEL_VARIABLE, quiet_stderr

_NVIDIA_DRIVERS = (Path("/proc/driver/nvidia"), Path("/dev/dxg"))
_SAID_EVERYWHERE = re.compile(r"failed call to cuInit|before absl::InitializeLog\(\)|^[IW]\d{4} ")


def find_devices_quietly() -> None:
    """Let TensorFlow look for devices now, and keep to itself that a machine without an NVIDIA driver has no GPU.

    TensorFlow calls that an error, so no log level but the one that hides all errors leaves it out, and some of what it
    says on import heeds no level. Nothing happens where there is a driver, or where `TF_CPP_MIN_LOG_LEVEL` is 0.
    """
    if any(path.exists() for path in _NVIDIA_DRIVERS) or os.environ.get(LEVEL_VARIABLE) == "0":
        return
    with quiet_stderr() as said:
        import tensorflow as tf

        tf.config.list_physical_devices()
        lines = said().splitlines(keepends=True)
    sys.stderr.write("".join(line for line in lines if not _SAID_EVERYWHERE.search(line)))
