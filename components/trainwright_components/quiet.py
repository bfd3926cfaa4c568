"""Keep what libraries say about themselves out of a step's log. Imports no TensorFlow."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
WARNINGS_AND_LESS = "2"  # what TensorFlow's C++ then leaves out

_CHATTY = ("absl", "tensorflow")


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
