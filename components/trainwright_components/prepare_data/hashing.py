"""A stable number in [0, 1) for each row: by its content or key, the same in any file, on any machine; or its place."""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, as_text, holds_bytes, is_missing
from trainwright_components.errors import InvalidData

_SEPARATOR = "\x1f"


def row_fractions(chunk: Chunk, *, seed: int, ignored: Collection[str] = ()) -> NDArray[np.float64]:
    """By the content of the row but for the columns in `ignored`: equal rows get equal numbers."""
    columns = [chunk.columns[name] for name in sorted(chunk.columns) if name not in ignored]
    binary = [_row_bytes(column) for column in columns if _is_binary(column)]
    texts = [column for column in columns if not _is_binary(column)]
    rows = [text.encode() for text in _joined(texts)] if texts else [b""] * chunk.rows
    if binary:
        rows = [b"".join(row) for row in zip(rows, *binary, strict=True)]
    return _fractions(rows, seed)


def _joined(columns: Sequence[Column]) -> list[str]:
    texts = [column.tolist() if column.dtype == object else as_text(column) for column in columns]
    try:
        return [*map(_SEPARATOR.join, zip(*texts, strict=True))]
    except TypeError:  # a value that is missing, or bytes
        return [*map(_SEPARATOR.join, zip(*map(as_text, columns), strict=True))]


class PositionFractions:
    """By the number of the row in its file and of the file among those read: equal rows get different numbers."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._files: dict[str, int] = {}

    def __call__(self, chunk: Chunk) -> NDArray[np.float64]:
        """Files count in the order of their first chunk, which is the same in every pass."""
        file = self._files.setdefault(chunk.origin, len(self._files))
        return _fractions((f"{file}{_SEPARATOR}{row}".encode() for row in chunk.row_numbers), self._seed)


def key_fractions(chunk: Chunk, column: str, *, seed: int) -> NDArray[np.float64]:
    """By the value of the key in `column`; 17, 17.0 and "17" are one key.

    Raises:
        InvalidData: A row has no key.
    """
    values = chunk.column(column)
    missing = is_missing(values)
    if missing.any():
        place = chunk.place(int(missing.argmax()))
        raise InvalidData(f"{place}: data.key_column {column!r} has no value; give every row a key, or remove the row")
    return _fractions((text.encode() for text in as_text(values)), seed)


def text_fraction(text: str, *, seed: int) -> float:
    """By a text alone."""
    return float(_fractions([text.encode()], seed)[0])


def _fractions(contents: Iterable[bytes], seed: int) -> NDArray[np.float64]:
    key = seed.to_bytes(8, "little", signed=True)
    digests = [int.from_bytes(blake2b(content, digest_size=6, key=key).digest()) for content in contents]
    return np.array(digests, np.float64) / 2**48


def _is_binary(column: Column) -> bool:
    return column.ndim > 1 or holds_bytes(column)


def _row_bytes(column: Column) -> list[bytes]:
    return [row.tobytes() for row in column] if column.ndim > 1 else [value or b"" for value in column.tolist()]
