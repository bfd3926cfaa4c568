"""Columns of text as Arrow holds them: numbers are read without an object for each, texts become objects when asked."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Column

_LINE_FEED = 10
_BLANK = 32  # and what is below it
_ASCII = 128
_OF_NUMBERS = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.eE", np.uint8))


class LazyColumns(Mapping[str, Column]):
    """Columns that are made when they are first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Column]]) -> None:
        self._makers = makers
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def trimmed(values: Any) -> Any:
    """A `pyarrow.StringArray` without the blanks around its values."""
    import pyarrow.compute as pc

    data = _bytes(values)[1]
    return pc.utf8_trim_whitespace(values) if ((data <= _BLANK) | (data >= _ASCII)).any() else values


def as_objects(values: Any) -> Column:
    """Trimmed texts as str, one object for all that are equal."""
    encoded = values.dictionary_encode()
    different: Column = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
    texts: Column = different[encoded.indices.to_numpy()]
    return texts


def has_line_feed(values: Any) -> bool:
    """Whether a value is of several lines."""
    return bool((_bytes(values)[1] == _LINE_FEED).any())


def read_plain(values: Any, missing: frozenset[str]) -> tuple[Any, NDArray[np.float64] | None]:
    """Trimmed texts with the empty string for each in `missing`, and as numbers, as `plain_numbers` has them."""
    if not _has_number(missing) and (numbers := plain_numbers(values)) is not None:
        return values, numbers
    texts = without(values, missing)
    return texts, plain_numbers(texts)


def without(values: Any, missing: frozenset[str]) -> Any:
    """Trimmed texts with the empty string for each in `missing`."""
    import pyarrow.compute as pc

    is_missing = pc.is_in(values, value_set=_texts(missing))
    return pc.if_else(is_missing, "", values) if pc.any(is_missing).as_py() else values


def plain_numbers(values: Any) -> NDArray[np.float64] | None:
    """Trimmed texts as numbers, NaN for the empty string; None where one is no plain number, or a code like 007."""
    import pyarrow as pa
    import pyarrow.compute as pc

    starts, data = _bytes(values)
    if not _OF_NUMBERS[data].all() or _has_code(starts, data):
        return None
    if (np.diff(starts) == 0).any():
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    try:
        return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        return None


def _bytes(values: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Where each text starts, and the last ends, among their bytes."""
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    held = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return starts - starts[0], held[starts[0] : starts[-1]]


def _has_code(starts: NDArray[np.int32], data: NDArray[np.uint8]) -> bool:
    first = starts[:-1][np.diff(starts) > 1]
    second = data[first[data[first] == ord("0")] + 1]
    return bool(((second >= ord("0")) & (second <= ord("9"))).any())


@lru_cache
def _has_number(texts: frozenset[str]) -> bool:
    return any(character.isdigit() for text in texts for character in text)


@lru_cache
def _texts(texts: frozenset[str]) -> Any:
    import pyarrow as pa

    return pa.array(sorted(texts), pa.string())
