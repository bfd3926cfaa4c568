"""A model goes on only from the variables of a model like it, and what differs is named."""

import keras
import numpy as np
import pytest

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.driver import as_numbers
from trainwright_components.training.recovery.model_state import read_state, write_state


def model_with(*units: int, momentum: float = 0.9) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(number) for number in units)])
    model.compile(keras.optimizers.SGD(0.1, momentum=momentum), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_variables_come_back_whatever_keras_calls_them() -> None:
    first, second = model_with(4, 2), model_with(4, 2)
    write_state(second, read_state(first))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: model_with(5, 2), r"sequential\w*/dense\w*/kernel has shape \(3, 5\), there \(3, 4\); "),
        (lambda: model_with(4, 2, 2), r"sequential\w*/dense\w*/kernel of shape \(2, 2\) is not in it; "),
        (lambda: model_with(4), r"it holds variable 2 of the model, of shape \(4, 2\), which is gone; "),
        (lambda: model_with(4, 2, momentum=0.0), r"it holds variable 2 of the optimizer, of shape \(3, 4\), which is"),
    ],
)
def test_variables_that_differ_are_named_and_none_is_changed(other: object, message: str) -> None:
    assert callable(other)
    saved, changed = read_state(model_with(4, 2)), other()
    before = changed.get_weights()
    with pytest.raises(InvalidModule, match=r"the checkpoint does not fit .*" + message):
        write_state(changed, saved)
    for one, same in zip(before, changed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_metric_of_several_numbers_becomes_several_metrics() -> None:
    logs = {"loss": keras.ops.convert_to_tensor(0.5), "f1": np.array([0.25, 1.0], np.float32)}
    assert as_numbers(logs) == {"loss": 0.5, "f1_0": 0.25, "f1_1": 1.0}
