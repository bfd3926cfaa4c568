"""Rows as tf.Example, read back by the message itself."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainwright_components.datasets.examples import encode_rows
from trainwright_components.datasets.schema import Feature, Schema

COLUMNS: dict[str, NDArray[Any]] = {
    "float": np.array([1.5, np.nan, -np.inf], np.float32),
    "double": np.array([0.1, 1e30, -0.0], np.float64),
    "floats": np.arange(1200, dtype=np.float32).reshape(3, 20, 20),
    "no floats": np.zeros((3, 0), np.float32),
    "int64": np.array([-(2**63), -1, 2**63 - 1], np.int64),
    "uint8": np.array([0, 127, 255], np.uint8),
    "pixels": np.arange(18, dtype=np.uint8).reshape(3, 3, 2),
    "bool": np.array([True, False, True]),
    "text": np.array(["", "grün", "x" * 20_000], dtype=object),
    "bytes": np.array([b"\x00\xff", b"", b"\x80"], dtype=object),
    "größe / m²": np.array([1, 2, 3], np.int32),
    "n" * 300: np.array([1.0, 2.0, 3.0], np.float32),
}


@pytest.mark.parametrize("names", [tuple(COLUMNS), *((name,) for name in COLUMNS)], ids=lambda names: names[0][:9])
def test_the_message_reads_what_was_written(names: tuple[str, ...]) -> None:
    from tensorflow.core.example import example_pb2

    schema = Schema(features=tuple(Feature(name=name, kind="numeric", dtype="float32") for name in names))
    for row, record in enumerate(encode_rows({name: COLUMNS[name] for name in names}, schema)):
        features = example_pb2.Example.FromString(record).features.feature
        assert set(features) == set(names)
        for name in names:
            kind = features[name].WhichOneof("kind")
            read = list(getattr(features[name], kind).value)
            written = COLUMNS[name][row]
            if COLUMNS[name].dtype == object:
                assert kind == "bytes_list"
                assert read == [written.encode() if isinstance(written, str) else written]
            elif COLUMNS[name].dtype.kind == "f":
                assert kind == "float_list"
                np.testing.assert_array_equal(read, written.astype(np.float32).reshape(-1))
            else:
                assert kind == "int64_list"
                np.testing.assert_array_equal(read, written.reshape(-1))
