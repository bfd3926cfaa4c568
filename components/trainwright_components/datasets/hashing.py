"""A stable number in [0, 1) for each row: by its content or key, the same in any file, on any machine; or its place."""

from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Chunk, Column, as_text, holds_bytes, is_missing
from trainwright_components.errors import InvalidData

FractionOf = Callable[[Chunk], NDArray[np.float64]]
_SEPARATOR = "\x1f"
_DIGEST_BYTES = 6
_WRITTEN_ALIKE = (1e-4, 1e9)  # fractions that Python and Arrow both write with the fewest digits and no exponent


def row_fractions(
    chunk: Chunk, *, seed: int, ignored: Collection[str] = (), by_bits: bool = False
) -> NDArray[np.float64]:
    """By the content of the row but for the columns in `ignored`: equal rows get equal numbers.

    `by_bits` takes the bits of numbers, not their text: several times as fast, but for rows of one source alone.
    """
    names = [name for name in sorted(chunk.columns) if name not in ignored]
    of_bytes = {name for name in names if name not in chunk.texts and _is_binary(chunk.columns[name], by_bits)}
    texts = [name for name in names if name not in of_bytes]
    rows = _joined(chunk, texts) if texts else [b""] * chunk.rows
    if of_bytes:
        binary = [_row_bytes(chunk.columns[name]) for name in names if name in of_bytes]
        rows = [b"".join(row) for row in zip(rows, *binary, strict=True)]
    return _fractions(rows, seed)


def _joined(chunk: Chunk, names: Sequence[str]) -> list[bytes]:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [chunk.texts[name] if name in chunk.texts else _arrow_texts(chunk.columns[name]) for name in names]
    joined = pc.binary_join_element_wise(*texts, _SEPARATOR)
    rows: list[bytes] = joined.cast(pa.binary()).to_numpy(zero_copy_only=False).tolist()
    return rows


def _arrow_texts(column: Column) -> Any:
    """What `as_text` gives as a `pyarrow.StringArray`, ten times as fast for numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.dtype.kind in "iu":
        return pa.array(column).cast(pa.string())
    if column.dtype.kind != "f":
        return pa.array(as_text(column), pa.string())
    numbers = column.astype(np.float64)
    least, beyond = _WRITTEN_ALIKE
    is_alike = (np.abs(numbers) >= least) & (np.abs(numbers) < beyond) & (numbers != np.floor(numbers))
    texts = pa.array(numbers).cast(pa.string())
    others = pa.array(as_text(numbers[~is_alike]), pa.string())
    return pc.replace_with_mask(texts, pa.array(~is_alike), others)


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
    start = blake2b(digest_size=_DIGEST_BYTES, key=seed.to_bytes(8, "little", signed=True))
    digests = []
    for content in contents:
        hashing = start.copy()  # takes half as long as to make one
        hashing.update(content)
        digests.append(hashing.digest())
    numbers = np.zeros((len(digests), 8), np.uint8)
    numbers[:, -_DIGEST_BYTES:] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST_BYTES)
    fractions: NDArray[np.float64] = numbers.view(">u8")[:, 0] / 2 ** (8 * _DIGEST_BYTES)
    return fractions


def _is_binary(column: Column, by_bits: bool) -> bool:
    return column.ndim > 1 or holds_bytes(column) or (by_bits and column.dtype != object)


def _row_bytes(column: Column) -> list[bytes]:
    if column.ndim > 1:
        return [row.tobytes() for row in column]
    if column.dtype == object:
        return [value or b"" for value in column.tolist()]
    rows: list[bytes] = np.ascontiguousarray(column).view(f"V{column.itemsize}").tolist()
    return rows
