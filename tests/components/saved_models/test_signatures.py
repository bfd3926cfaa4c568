"""The names of signatures are TensorFlow's, and each is written once."""

import ast
from pathlib import Path

import trainwright_components
import trainwright_pipelines
from trainwright_components.model_server.methods.inference import DEFAULT_SIGNATURE
from trainwright_components.saved_models.signatures import SERVING_DEFAULT

HOMES = {
    "serving_default": {
        "saved_models/signatures.py",
        "model_server/methods/inference.py",
        "batch_predict/component.py",
    },
    "assets.extra": {"saved_models/layout.py", "model_server/models/warmup.py"},
}
"""The server speaks TensorFlow Serving's names by itself; KFP copies a component's defaults into the task as text."""


def test_the_default_signature_is_tensorflows() -> None:
    import tensorflow as tf

    assert SERVING_DEFAULT == DEFAULT_SIGNATURE == tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def test_names_of_signatures_and_folders_are_written_once() -> None:
    found: dict[str, set[str]] = {name: set() for name in HOMES}
    for package in (trainwright_components, trainwright_pipelines):
        (root,) = map(Path, package.__path__)
        for file in root.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in found:
                    found[node.value].add(file.relative_to(root).as_posix())
    assert found == HOMES
