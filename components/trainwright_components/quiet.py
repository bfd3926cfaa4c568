"""Keep what libraries say about themselves out of a step's log. Imports no TensorFlow at the top."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
WARNINGS_AND_LESS = "2"  # what TensorFlow's C++ then leaves out

_CHATTY = ("absl", "tensorflow")
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


@contextmanager
def quiet_loggers() -> Iterator[None]:
    """Let TensorFlow's Python side report nothing below an error."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def quiet_stderr() -> Iterator[Callable[[], str]]:
    """Hold back what C++ libraries write to file descriptor 2; yields a function that returns it."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
