"""Texts that are dates, with or without a time. A model's graph reads the same ones; no TensorFlow."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ISO_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
"""A date of ISO 8601, and a time after `T` or a blank; the same for Python and for RE2, which TensorFlow uses."""


def read_days(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """The days since 1970-01-01 of dates; None where one of the texts is not a date. Offsets of times are not read."""
    if not all(re.fullmatch(ISO_DATE, text) for text in texts):
        return None
    try:
        return np.array([text[:10] for text in texts], "datetime64[D]").astype(np.float64)
    except ValueError:  # such as the 31st of June
        return None
