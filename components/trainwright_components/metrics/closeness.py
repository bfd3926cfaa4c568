"""When two graphs of one model give equal numbers: measured at the spread of the labels, which errors are judged by.

Measured at the size of the numbers instead, all models of a label far from zero would be equal. Knows no TensorFlow.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE_OF_SPREAD = 1e-4
"""Of the standard deviation of the labels: far below what any error of a model could be told by."""
_ROUNDINGS = 4  # float32 keeps 24 bits, and the last of several sums in another order differ


def spread_of(labels: NDArray[Any]) -> float:
    """The standard deviation of `labels`, `(rows, ...)`, whose values are of different scale: the smallest above 0."""
    deviations = labels.reshape(len(labels), -1).astype(np.float64).std(axis=0)
    return min(deviations[deviations > 0].tolist(), default=0.0)


def rounding_at(size: float) -> float:
    """What rounding alone may change in float32 numbers of this size."""
    return _ROUNDINGS * float(np.finfo(np.float32).eps) * size


def size_of(numbers: NDArray[Any]) -> float:
    """The largest of the finite ones, whatever its sign."""
    return float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))
