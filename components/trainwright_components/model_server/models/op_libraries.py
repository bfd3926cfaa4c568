"""Operations that models need and TensorFlow does not bring."""

import logging
from collections.abc import Iterable

import tensorflow as tf

from trainwright_components.model_server.status import invalid_argument

logger = logging.getLogger(__name__)


def load_op_libraries(paths: Iterable[str]) -> None:
    """Load shared libraries that register operations.

    Raises:
        StatusError: A file is no such library.
    """
    for path in paths:
        try:
            tf.load_op_library(path)
        except (OSError, tf.errors.OpError) as error:
            raise invalid_argument(f"--custom_op_libraries: cannot load {path}: {error}") from error
        logger.info("loaded the operations of %s", path)
