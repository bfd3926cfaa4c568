"""Which Keras a user's code is written for: Keras 3, or the Keras 2 that lives on as tf_keras. Imports neither."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEGACY_VARIABLE = "TF_USE_LEGACY_KERAS"  # makes tf.keras mean tf_keras; TensorFlow reads it on import
TF_KERAS = "tf_keras"


def uses_tf_keras(location: str | Path) -> bool:
    """Whether a file, one of a folder or a dotted name imports tf_keras, or sets `TF_USE_LEGACY_KERAS`."""
    return any(_asks_for_tf_keras(file) for file in _sources(location))


def mentions(location: str | Path, *words: str) -> bool:
    """Whether one of `words` stands in a file, in one of a folder or in that of a dotted name."""
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in _sources(location))
    return any(word in text for text in texts for word in words)


def keras_for(location: str | Path) -> Any:
    """The package that the module at `location` is written for: `keras` or `tf_keras`."""
    return importlib.import_module(TF_KERAS if uses_tf_keras(location) else "keras")


def set_random_seed(location: str | Path, seed: int) -> None:
    """Seed what is random in the module at `location`; tf_keras then keeps its random state where it can be read."""
    package = keras_for(location)
    if package.__name__ == TF_KERAS:
        package.backend.experimental.enable_tf_random_generator()
    package.utils.set_random_seed(seed)


def keras_of(thing: Any) -> Any:
    """The package that a model or a callback was made with: `keras` or `tf_keras`."""
    return importlib.import_module(TF_KERAS if is_tf_keras(thing) else "keras")


def is_tf_keras(thing: Any) -> bool:
    """Whether a model or a callback, or the class that its own comes from, is one of tf_keras."""
    return any(kind.__module__.split(".")[0] == TF_KERAS for kind in type(thing).__mro__)


def is_compiled(model: Any) -> bool:
    """Whether `model.compile` was called."""
    return bool(getattr(model, "compiled", False) or getattr(model, "_is_compiled", False))


def is_overridden(model: Any, name: str) -> bool:
    """Whether the method `name` of a model is not that of Keras."""
    owner = next(kind for kind in type(model).__mro__ if name in vars(kind))
    return not owner.__module__.startswith(("keras.", f"{TF_KERAS}."))


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
