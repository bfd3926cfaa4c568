"""What training uses of Keras' insides is there, in the versions that it was tried with, and its lack is told."""

import keras
import pytest
from keras.src.losses import loss

from trainwright_components.errors import TrainingFailed
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
