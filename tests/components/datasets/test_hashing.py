"""The numbers of rows: of their content alone, whether it comes as objects or from Arrow, and the same for ever."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from trainwright_components.datasets.chunks import Chunk, as_text, object_column
from trainwright_components.datasets.hashing import row_fractions

TEXTS = {"b": ["x", "", "ü, y"], "a": ["1", "2.5", "-0"]}


def test_the_number_of_a_row_is_the_hash_of_its_values_in_the_order_of_their_names() -> None:
    rows = ["1\x1fx", "2.5\x1f", "-0\x1fü, y"]
    key = (7).to_bytes(8, "little", signed=True)
    digests = [blake2b(row.encode(), digest_size=6, key=key).hexdigest() for row in rows]
    objects = {name: object_column([*values]) for name, values in TEXTS.items()}
    chunk = Chunk(columns=objects, origin="o")
    assert row_fractions(chunk, seed=7).tolist() == [int(digest, 16) / 16**12 for digest in digests]
    arrow = Chunk(columns=objects, texts={"b": pa.array(TEXTS["b"], pa.string())}, origin="o")
    assert row_fractions(arrow, seed=7).tolist() == row_fractions(chunk, seed=7).tolist()


@pytest.mark.parametrize("missing", [None, ""])
def test_missing_values_and_bytes_count_as_they_are_stored(missing: str | None) -> None:
    columns = {"a": object_column([missing, "x"]), "b": object_column([b"\xff", None]), "n": np.array([7.0, np.nan])}
    key = (0).to_bytes(8, "little", signed=True)
    digests = [blake2b(row, digest_size=6, key=key).hexdigest() for row in (b"\x1f7\xff", b"x\x1f")]
    found = row_fractions(Chunk(columns=columns, origin="o"), seed=0)
    assert found.tolist() == [int(digest, 16) / 16**12 for digest in digests]


def test_no_rows_have_no_numbers() -> None:
    assert row_fractions(Chunk(columns={"a": object_column([])}, origin="o"), seed=0).tolist() == []


def test_rows_are_equal_by_their_bits_as_by_their_text() -> None:
    columns = {"n": np.array([1.5, 2, 1.5]), "i": np.array([1, 1, 1]), "t": object_column(["a", "a", "a"])}
    numbers = row_fractions(Chunk(columns=columns, origin="o"), seed=0, by_bits=True)
    assert numbers[0] == numbers[2] != numbers[1]


def test_numbers_count_as_python_writes_them() -> None:
    random = np.random.default_rng(0)
    floats = random.normal(size=2_000) * 10.0 ** random.integers(-12, 20, 2_000)
    edges = [
        0.0,
        -0.0,
        7,
        -7.5,
        np.nan,
        np.inf,
        -np.inf,
        1e-4,
        9.999e-5,
        0.1 + 0.2,
        1e15,
        1e16,
        123456789012345.6,
        5e-324,
    ]
    for column in (
        floats,
        floats.astype(np.float32),
        np.array(edges),
        np.array([0, -3, 2**62]),
        np.array([True, False]),
    ):
        written = object_column(as_text(column))
        numbers, texts = (Chunk(columns={"n": each}, origin="o") for each in (column, written))
        assert row_fractions(numbers, seed=0).tolist() == row_fractions(texts, seed=0).tolist()
