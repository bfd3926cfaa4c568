"""A stable number in [0, 1) for each row: the same row or key gets the same one, in any file, on any machine."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, as_text, is_missing
from trainwright_components.errors import InvalidData

_SEPARATOR = b"\x1f"


def row_fractions(chunk: Chunk, *, seed: int) -> NDArray[np.float64]:
    """By the content of the whole row: equal rows get equal numbers."""
    parts = [_column_bytes(chunk.columns[name]) for name in sorted(chunk.columns)]
    return _fractions((_SEPARATOR.join(row) for row in zip(*parts, strict=True)), chunk.rows, seed)


def key_fractions(chunk: Chunk, column: str, *, seed: int) -> NDArray[np.float64]:
    """By the value of the key in `column`; 17, 17.0 and "17" are one key.

    Raises:
        InvalidData: A row has no key.
    """
    values = chunk.column(column)
    missing = is_missing(values, is_typed=chunk.is_typed)
    if missing.any():
        place = chunk.place(int(missing.argmax()))
        raise InvalidData(f"{place}: key_column {column!r} has no value; give every row a key, or remove the row")
    return _fractions((text.encode() for text in as_text(values)), chunk.rows, seed)


def text_fraction(text: str, *, seed: int) -> float:
    """By a text alone."""
    return float(_fractions([text.encode()], 1, seed)[0])


def _fractions(contents: Iterable[bytes], rows: int, seed: int) -> NDArray[np.float64]:
    key = seed.to_bytes(8, "little", signed=True)
    digests = (int.from_bytes(blake2b(content, digest_size=6, key=key).digest()) for content in contents)
    return np.fromiter(digests, np.float64, rows) / 2**48


def _column_bytes(column: Column) -> list[bytes]:
    if column.ndim > 1:
        return [row.tobytes() for row in column]
    if column.dtype == object and column.size and isinstance(column[0], bytes):
        return [value or b"" for value in column.tolist()]
    return [text.encode() for text in as_text(column)]
