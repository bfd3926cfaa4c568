"""What training uses of Keras' insides is there, in the versions that it was tried with, and its lack is told."""

import ast
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
from keras.src.losses import loss

import trainwright_components
from trainwright_components.errors import TrainingFailed
from trainwright_components.training import keras_internals
from trainwright_components.training.keras_internals import (
    CHECKED,
    check_keras,
    inner_optimizers,
    optimizers_of,
)


def test_the_installed_keras_is_one_that_was_tried() -> None:
    """With a newer one: run test_like_fit.py with all its kinds (`-m ""`), then raise `CHECKED`."""
    check_keras()
    oldest, newest = (tuple(map(int, version.split("."))) for version in CHECKED)
    assert oldest <= tuple(map(int, keras.__version__.split(".")[:2])) <= newest


def test_a_keras_without_a_part_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(loss, "reduce_weighted_values")
    with pytest.raises(TrainingFailed, match=r"has no keras\.src\.losses\.loss\.reduce_weighted_values, which"):
        check_keras()


@pytest.mark.parametrize("name", ["_symbolic_build", "_flatten_layers"])
def test_a_missing_method_of_models_is_told_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in keras.Model.__mro__:
        if name in vars(kind):
            monkeypatch.delattr(kind, name)
    with pytest.raises(TrainingFailed, match=rf"has no keras\.Model\.{name}, which"):
        check_keras()


def test_all_that_is_used_of_keras_insides_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()

    def note(_holder: object, name: str) -> bool:
        asked.add(name)
        return True

    monkeypatch.setattr(keras_internals, "hasattr", note, raising=False)
    check_keras()
    used = {name for _, name in _private_attributes(Path(keras_internals.__file__))}
    assert used
    assert used <= asked | {"_value"}


def test_keras_insides_are_used_in_one_place() -> None:
    """But for what tf_keras, which does not change any more, needs, and walks over layers, which both kinds have."""
    root = Path(trainwright_components.__file__).parent
    checked = {name for _, name in _private_attributes(Path(keras_internals.__file__))} - {"_flatten_layers"}
    elsewhere = [
        f"{file.relative_to(root)}:{line}: {name}"
        for file in root.rglob("*.py")
        if file.name not in ("keras_internals.py", "tf_keras_steps.py")
        for line, name in _private_attributes(file)
        if name in checked
    ]
    imports = [file.name for file in root.rglob("*.py") if "from keras.src" in file.read_text()]
    assert elsewhere == []
    assert imports == ["keras_internals.py"]


def _private_attributes(file: Path) -> Iterator[tuple[int, str]]:
    """Lines and names of attributes that are private to something else than the class they are used in."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            yield node.lineno, node.attr


def test_all_optimizers_of_a_model_are_found() -> None:
    class Several(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.one = keras.optimizers.SGD()
            self.more = [keras.optimizers.Adam(), keras.layers.Dense(1)]
            self.named = {"last": keras.optimizers.Lion()}

    model = Several()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(name="inner")))
    found = optimizers_of(model)
    assert found[0] is model.optimizer
    assert {id(one) for one in found[1:]} == {id(model.one), id(model.more[0]), id(model.named["last"])}
    assert [one.name for one in inner_optimizers(model.optimizer)][1] == "inner"
