"""Where a version brings no warm-up records: compute each signature once on zeros, so that no first request is slow.

What a model makes of zeros is its own affair: a failure is only logged, and what takes too long is left behind.
"""

import logging
import threading
import time
from typing import Any

import numpy as np
import tensorflow as tf

from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.status import Code, StatusError

logger = logging.getLogger(__name__)

TIMEOUT_S = 20.0
_MAX_VALUES = 1 << 24


def warm_up_from_signatures(model: Servable, *, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Compute each signature of `model` on zeros and return the names of those that answered within the time."""
    answered: list[str] = []

    def compute_all() -> None:
        for name, signature in sorted(model.signatures.items()):
            try:
                model.run(name, zeros_for(signature), sorted(signature.outputs))
            except (StatusError, ValueError) as error:
                if isinstance(error, StatusError) and error.code is Code.CANCELLED:
                    logger.info("a warm-up made up from signatures ends: its model is unloaded")
                    return
                logger.info("signature %r has no answer to zeros, and is not warmed up: %s", name, error)
            else:
                answered.append(name)

    started = time.monotonic()
    thread = threading.Thread(target=compute_all, name="made-up-warmup", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        logger.warning("a warm-up made up from signatures is not over after %.0f s; going on without", timeout_s)
    logger.info("warmed up %s on zeros in %.2f s", ", ".join(answered) or "nothing", time.monotonic() - started)
    return list(answered)


def zeros_for(signature: Any) -> dict[str, Any]:
    """One row of zeros, or of empty strings, for each input; sizes that the signature leaves open are 1.

    Raises:
        ValueError: An input is of a type without zeros, or huge.
    """
    return {alias: _zeros(alias, info) for alias, info in signature.inputs.items()}


def _zeros(alias: str, info: Any) -> Any:
    dtype = tf.as_dtype(info.dtype)
    shape = [max(1, dim.size) if dim.size else 0 for dim in info.tensor_shape.dim]
    if info.tensor_shape.unknown_rank:
        shape = [1]
    if int(np.prod(shape, dtype=np.float64)) > _MAX_VALUES:
        raise ValueError(f"input {alias!r} of shape {shape} is too large to make up")
    if dtype == tf.string:
        return np.full(shape, b"", object)
    if dtype.name in {"resource", "variant"}:
        raise ValueError(f"input {alias!r} is a {dtype.name}")
    return np.zeros(shape, dtype.as_numpy_dtype)
