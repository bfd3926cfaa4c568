"""A tiny dataset with a partial last batch, and modules over it."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tensorflow.python.framework import config

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter

TRAIN_ROWS, VALIDATION_ROWS = 53, 21


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """53 and 21 rows: numbers `a` (6,) and `b`, integers `tokens` (5,) below 12, a class of three, a weight."""
    folder = tmp_path_factory.mktemp("tiny") / "dataset"
    folder.mkdir()
    schema = Schema(
        features=(
            Feature(name="a", kind="numeric", dtype="float32", shape=(6,)),
            Feature(name="b", kind="numeric", dtype="float32"),
            Feature(name="tokens", kind="numeric", dtype="int64", shape=(5,)),
        ),
        label=Label(name="kind", kind="class", dtype="int64", class_names=("x", "y", "z")),
        weight="weight",
    )
    random = np.random.default_rng(7)
    with DatasetWriter(folder, schema, shards={"train": 3, "validation": 1}) as writer:
        for split, rows in (("train", TRAIN_ROWS), ("validation", VALIDATION_ROWS)):
            a = random.normal(size=(rows, 6)).astype("float32")
            writer.write(
                split,
                {
                    "a": a,
                    "b": random.normal(size=rows).astype("float32"),
                    "tokens": random.integers(12, size=(rows, 5)),
                    "kind": np.digitize(a[:, 0] + a[:, 1], [-0.5, 0.5]).astype("int64"),
                    "weight": random.uniform(0.2, 2.0, size=rows).astype("float32"),
                },
            )
    return folder


@pytest.fixture(autouse=True)
def end_determinism() -> Iterator[None]:
    """Let no test compute deterministically because one before it did: TensorFlow has that for a whole process."""
    yield
    config.disable_op_determinism()


@pytest.fixture
def write_module(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a module file of the given text."""

    def write(text: str) -> Path:
        file = tmp_path / "net.py"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def limited_files() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file of this process may grow beyond a number of bytes, as on a disk that is full."""

    @contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
