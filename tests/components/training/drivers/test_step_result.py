"""What steps of workers return, each with counts of its own, is what fit reports of one device."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.driver import as_numbers
from trainwright_components.training.drivers.shared_state import SharedState
from trainwright_components.training.keras_internals import build_variables

ROWS = np.random.default_rng(3).normal(size=(20, 4)).astype("float32")
LABELS = (ROWS[:, 0] > 0).astype("int64")
BATCH = 8


class Centred(keras.layers.Layer):
    """Takes away a running mean that the same call has moved."""

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)

    def call(self, rows: Any) -> Any:
        self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(rows, 0))
        return rows - self.mean


class Renaming(keras.Model):
    """Reports its tracker under another name, beside numbers that only the step knows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.total = keras.metrics.Mean(name="total")
        self.is_computing = False

    @property
    def metrics(self) -> list[Any]:
        return [self.total]

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, [one.value for one in variables])
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.total.update_state(loss)
        logs = {"loss": self.total.result(), "last": loss}
        return {**logs, "computed": self.total.result() * 2} if self.is_computing else logs


def make_model() -> Renaming:
    keras.utils.set_random_seed(1)
    rows = keras.Input((4,))
    hidden = Centred()(keras.layers.Dense(5, activation="relu")(rows))
    model = Renaming(rows, keras.layers.Dense(2, activation="softmax")(hidden))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


def share(model: Renaming) -> tuple[SharedState, Any]:
    build_variables(model, (keras.KerasTensor((None, 4)), keras.KerasTensor((None,), "int64")))
    state = SharedState(model)
    return state, tf.function(lambda batch, counts: state.run(model.train_step, batch, counts), autograph=False)


def test_steps_that_count_apart_report_and_train_as_fit_does() -> None:
    """A tracker under another name, a number of the last batch, and no gradient through a state that is moved."""
    fitted = make_model()
    history = fitted.fit(ROWS, LABELS, batch_size=BATCH, shuffle=False, epochs=3, verbose=0).history
    model = make_model()
    state, run = share(model)
    for epoch in range(3):
        model.reset_metrics()
        steps = [
            run((ROWS[begin : begin + BATCH], LABELS[begin : begin + BATCH]), state.zeros())
            for begin in range(0, len(ROWS), BATCH)
        ]
        sums = [tf.add_n(parts) for parts in zip(*(counts for counts, _ in steps), strict=True)]
        own, _ = steps[-1][1]
        logs = as_numbers(state.count(sums, own))
        assert logs == pytest.approx({name: values[epoch] for name, values in history.items()}, rel=1e-5)
    for ours, theirs in zip(model.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_number_that_is_computed_from_the_counts_of_one_worker_is_refused() -> None:
    model = make_model()
    model.is_computing = True
    state, run = share(model)
    with pytest.raises(InvalidModule, match="returns 'computed', which is computed from metrics"):
        run((ROWS[:BATCH], LABELS[:BATCH]), state.zeros())
