"""Numbers for people and JSON: a float32 as the double with the fewest digits that is still the same float32."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW_DIGITS, _ALL_DIGITS = 6, 9  # nine significant digits tell any two float32 apart
_EXACT_POWER = 22  # powers of ten up to this one are doubles without rounding


def plain_list(values: NDArray[Any]) -> Any:
    """`values.tolist()`, where float32 125.4 is 125.4 and not 125.4000015258789."""
    return _shortened(values).tolist() if values.dtype == np.float32 else values.tolist()


def as_json(value: Any) -> Any:
    """Lists and mappings with None in place of NaN and infinite numbers, which JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    return [*map(as_json, value)] if isinstance(value, list | tuple) else value


def _shortened(values: NDArray[np.float32]) -> NDArray[np.float64]:
    narrow = np.asarray(values)
    wide = np.asarray(values, np.float64)
    is_open = np.isfinite(wide) & (wide != 0)
    places = np.zeros(wide.shape)
    np.log10(np.abs(wide), out=places, where=is_open)
    exponents = np.floor(places)
    is_open = is_open & (np.abs(exponents) < _EXACT_POWER - _ALL_DIGITS)
    result = wide
    for digits in range(_FEW_DIGITS, _ALL_DIGITS + 1):
        shift = np.where(is_open, digits - 1 - exponents, 0)
        up, down = 10.0 ** np.maximum(shift, 0), 10.0 ** np.maximum(-shift, 0)
        rounded = np.round(wide * up / down) / up * down
        fits = is_open & (rounded.astype(np.float32) == narrow)
        result = np.where(fits, rounded, result)
        is_open = is_open & ~fits
        if not is_open.any():
            break
    return result
