"""Tiny SavedModels with golden requests whose answers come from arithmetic, and a home whose server is stopped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from trainwright_components.model_server.operation.control import stop_server
from trainwright_components.processes.warm_parent import WarmParent


class Line(tf.Module):
    """y = slope * x + 2, and the text in capitals."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = tf.Variable(slope, dtype=tf.float32)

    @tf.function
    def answer(self, x: Any) -> Any:
        return {"y": self.slope * x + 2.0}

    @tf.function
    def shout(self, text: Any, number: Any) -> Any:
        return {"upper": tf.strings.upper(text), "double": number * 2}


def save_line(slope: float, folder: Path) -> Path:
    """Export `Line` as a SavedModel."""
    line = Line(slope)
    signatures = {
        "serving_default": line.answer.get_concrete_function(tf.TensorSpec([None], tf.float32, name="x")),
        "shout": line.shout.get_concrete_function(
            tf.TensorSpec([None], tf.string, name="text"), tf.TensorSpec([None], tf.int64, name="number")
        ),
    }
    tf.saved_model.save(line, str(folder), signatures=signatures)
    return folder


def write_golden(slope: float, file: Path) -> Path:
    """Golden requests for a line of the given slope."""
    requests = [
        {"signature_name": "serving_default", "inputs": {"x": [x, 1.0]}, "outputs": {"y": [slope * x + 2, slope + 2]}}
        for x in (0.0, 4.0, -8.0)
    ]
    shout = {
        "signature_name": "shout",
        "inputs": {"text": ["ab", {"b64": "Y2Q="}], "number": [1, 1 << 40]},
        "outputs": {"upper": ["AB", "CD"], "double": [2, 1 << 41]},
    }
    file.write_text("".join(json.dumps(request | {"tolerance": 1e-5}) + "\n" for request in [*requests, shout]))
    return file


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of y = 0.5 x + 2."""
    return save_line(0.5, tmp_path_factory.mktemp("half") / "model")


@pytest.fixture(scope="session")
def triple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of y = 3 x + 2."""
    return save_line(3.0, tmp_path_factory.mktemp("triple") / "model")


@pytest.fixture(scope="session")
def half_golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `half` answers."""
    return write_golden(0.5, tmp_path_factory.mktemp("half-golden") / "golden.jsonl")


@pytest.fixture(scope="session")
def triple_golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `triple` answers."""
    return write_golden(3.0, tmp_path_factory.mktemp("triple-golden") / "golden.jsonl")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, warm_parent: WarmParent) -> Iterator[Path]:
    """A home of its own, and a warm process at hand as in a run; the home's server is stopped at the end."""
    home = tmp_path_factory.mktemp("home")
    yield home
    stop_server(home)
