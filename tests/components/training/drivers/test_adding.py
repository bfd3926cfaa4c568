"""A metric whose state is not a sum is found before the first step, and one that adds is left as it was."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.errors import InvalidModule
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.drivers.adding import check_adding, metrics_to_try
from trainwright_components.training.keras_internals import build_variables
from trainwright_components.training.recovery.model_state import read_state

ROWS = np.linspace(-1, 1, 24, dtype="float32").reshape(6, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Own(keras.metrics.Metric):
    """Moves two numbers by a rule that the test chooses."""

    def __init__(self, rule: Any, name: str = "own", aggregation: str = "sum") -> None:
        super().__init__(name=name)
        self.rule = rule
        self.one = self.add_variable((), "zeros", name="one", aggregation=aggregation)
        self.other = self.add_variable((), "zeros", name="other")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.rule(self, keras.ops.max(y_pred))

    def result(self) -> Any:
        return self.one + 0.0


def largest(own: Own, value: Any) -> None:
    own.one.assign(keras.ops.maximum(own.one, value))


def smallest(own: Own, value: Any) -> None:
    own.one.assign(keras.ops.minimum(own.one, value))


def nothing_yet(own: Own, value: Any) -> None:
    own.one.assign(keras.ops.maximum(own.one, 0 * value))


def fading(own: Own, value: Any) -> None:
    own.one.assign(0.9 * own.one + 0.1 * value)


def running_mean(own: Own, value: Any) -> None:
    own.other.assign_add(1.0)
    own.one.assign_add((value - own.one) / own.other)


def last(own: Own, value: Any) -> None:
    own.one.assign(value)


def total(own: Own, value: Any) -> None:
    own.one.assign_add(value)
    own.other.assign(own.other + keras.ops.where(value > 0.9, 1.0, 2.0))


def drawing(own: Own, value: Any) -> None:
    own.one.assign_add(value + tf.random.uniform(()))


def largest_drawn(own: Own, value: Any) -> None:
    own.one.assign(keras.ops.maximum(own.one, value + tf.random.uniform(())))


def check(rule: Any, *, aggregation: str = "sum", is_stated_taken: bool = False) -> keras.Model:
    keras.utils.set_random_seed(2)
    rows = keras.Input((4,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(rows))
    model = keras.Model(rows, keras.layers.Dense(3, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy", Own(rule, aggregation=aggregation)])
    build_variables(model, (keras.KerasTensor((None, 4)), keras.KerasTensor((None,), "int64")))
    before = read_state(model)
    step = tf.function(model.train_step, autograph=False)
    try:
        metrics = metrics_to_try(model)
        assert [one.name for one in metrics] == ["own"]
        check_adding(model, metrics, lambda: step((ROWS, LABELS)), is_stated_taken=is_stated_taken)
    finally:
        after = read_state(model)
        assert all(np.array_equal(after[name], value) for name, value in before.items())
    return model


OFTEN = [largest, nothing_yet, running_mean, largest_drawn]
SELDOM = [pytest.param(rule, marks=pytest.mark.slow) for rule in (smallest, fading, last)]


@pytest.mark.parametrize("rule", [*OFTEN, *SELDOM])
def test_what_does_not_only_add_is_refused_by_name(rule: Any) -> None:
    with pytest.raises(InvalidModule, match=r"the metric 'own' does not only add to its state own/one, .*assign_add"):
        check(rule)


@pytest.mark.parametrize("rule", [total, drawing])
def test_what_adds_is_taken(rule: Any) -> None:
    check(rule)


def test_a_state_that_says_how_replicas_bring_it_together_is_taken_at_its_word() -> None:
    check(largest, aggregation="mean", is_stated_taken=True)
    with pytest.raises(InvalidModule):
        check(largest, aggregation="mean")


MODULE = """
import keras

class Largest(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="largest")
        self.state = self.add_variable((), "zeros", name="state")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.state.assign(keras.ops.maximum(self.state, keras.ops.max(y_pred)))

    def result(self):
        return self.state + 0.0

def preprocess(features, context):
    return features["a"]

def build_model(context):
    a = keras.Input((6,))
    model = keras.Model(a, keras.layers.Dense(3, activation="softmax")(a))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[Largest()])
    return model
"""


@pytest.mark.parametrize(
    ("cluster", "options"),
    [
        ({"chief": 1}, {"logical_devices": 2}),
        pytest.param({"worker": 2}, {}, marks=pytest.mark.slow),
    ],
    ids=["devices", "workers"],
)
@pytest.mark.usefixtures("warm_parent")
def test_a_maximum_is_refused_where_it_would_be_added_up(
    cluster: dict[str, int], options: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(MODULE)
    training = {"epochs": 1, "batch_size": 10, **options}
    with pytest.raises(InvalidModule, match="the metric 'largest' does not only add to its state largest/state"):
        train_model(tiny_dataset, tmp_path / "net.py", tmp_path / "model", training=training, cluster=cluster)
