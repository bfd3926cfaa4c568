"""Which Keras a user's code is written for: Keras 3, or the Keras 2 that lives on as tf_keras. Imports neither."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

LEGACY_VARIABLE = "TF_USE_LEGACY_KERAS"  # makes tf.keras mean tf_keras; TensorFlow reads it on import
TF_KERAS = "tf_keras"


def uses_tf_keras(location: str | Path) -> bool:
    """Whether a file, one of a folder or a dotted name imports tf_keras, or sets `TF_USE_LEGACY_KERAS`."""
    return any(_asks_for_tf_keras(file) for file in _sources(location))


def keras_of(model: Any) -> Any:
    """The package that `model` was built with: `keras` or `tf_keras`."""
    return importlib.import_module(TF_KERAS if is_tf_keras(model) else "keras")


def is_tf_keras(model: "keras.Model") -> bool:
    """Whether `model`, or the class that it comes from, is one of tf_keras."""
    return any(kind.__module__.split(".")[0] == TF_KERAS for kind in type(model).__mro__)


def _sources(location: str | Path) -> Iterator[Path]:
    path = Path(location).expanduser()
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (file for file in path.rglob("*.py") if file.is_file())
    elif isinstance(location, str) and re.fullmatch(r"[A-Za-z_][\w.]*", location):
        yield from _sources_of_name(location)


def _sources_of_name(name: str) -> Iterator[Path]:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return  # who loads it says what is wrong
    if found is not None and found.origin is not None:
        origin = Path(found.origin)
        yield from _sources(origin.parent if origin.name == "__init__.py" else origin)


def _asks_for_tf_keras(file: Path) -> bool:
    text = file.read_text(encoding="utf-8", errors="replace")
    if TF_KERAS not in text and LEGACY_VARIABLE not in text:
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False  # who loads it says what is wrong
    return any(_is_request(node) for node in ast.walk(tree))


def _is_request(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == TF_KERAS for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == TF_KERAS
    return isinstance(node, ast.Constant) and node.value == LEGACY_VARIABLE
