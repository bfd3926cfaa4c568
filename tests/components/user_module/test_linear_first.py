"""A linear model first, then a network: the stages, against scikit-learn's own path of strengths."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from trainwright import InvalidModule, LinearFirst, LinearFirstSchedule

RATE = 0.03


def build(columns: int, rows: int, *, has_network: bool = True) -> keras.Model:
    stages = LinearFirst(columns=columns, rows=rows)
    row = keras.Input((columns,))
    linear = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=stages.linear_l2(1 / rows))(row)
    network_l2 = stages.network_l2(3 / rows)
    hidden = keras.layers.Dense(16, activation="relu", kernel_regularizer=network_l2)(row)
    network = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=network_l2)(hidden)
    model = keras.Model(row, stages(linear, network if has_network else None))
    model.compile(
        keras.optimizers.Adam(RATE), "mse", metrics=[keras.metrics.MeanSquaredError(name="error")], jit_compile=False
    )
    return model


class Stages(keras.callbacks.Callback):
    """Notes each stage as it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        [layer] = [each for each in self.model.layers if isinstance(each, LinearFirst)]
        stage = float(layer.strength), float(layer.opened)
        if not self.seen or self.seen[-1] != stage:
            self.seen.append(stage)


def fit(
    model: keras.Model, inputs: Any, label: Any, *, rows: int, epochs: int = 400, patience: int = 4
) -> tuple[list[tuple[float, float]], dict[str, list[float]]]:
    schedule = LinearFirstSchedule(monitor="val_error", mode="min", patience=patience, learning_rate=RATE)
    stages = Stages()
    history = model.fit(
        inputs[:rows],
        label[:rows],
        validation_data=(inputs[rows:], label[rows:]),
        epochs=epochs,
        batch_size=128,
        verbose=0,
        callbacks=[stages, schedule],
    ).history
    return stages.seen, history


def test_of_many_columns_the_strength_is_the_one_that_scikit_learn_chooses_and_the_network_is_no_loss() -> None:
    random = np.random.default_rng(0)
    rows, columns = 128, 100
    inputs = random.normal(size=(rows + 128, columns)).astype("float32")
    label = (inputs[:, :5].sum(axis=1) + 3 * random.normal(size=len(inputs))).astype("float32")
    keras.utils.set_random_seed(0)
    model = build(columns, rows)
    seen, history = fit(model, inputs, label, rows=rows)

    def error(alpha: float) -> float:
        found = Ridge(alpha).fit(inputs[:rows], label[:rows]).predict(inputs[rows:])
        return float(np.mean((found - label[rows:]) ** 2))

    assert [strength for strength, is_open in seen if not is_open][:2] == [100.0, 10.0]
    assert min(history["val_error"]) <= 1.02 * min(error(alpha) for alpha in (0.1, 1, 10, 100))
    assert min(history["val_error"]) < 0.7 * error(1)  # what a linear model without a path has


def test_what_is_no_line_is_left_to_the_network() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(600, 2)).astype("float32")
    label = np.abs(inputs[:, 0])
    keras.utils.set_random_seed(0)
    model = build(2, 400)
    seen, history = fit(model, inputs, label, rows=400)
    linear = Ridge().fit(inputs[:400], label[:400]).predict(inputs[400:])
    assert [round(strength, 1) for strength, _ in seen] in ([1, 1], [1, 0.1, 1], [1, 0.1, 0.1])
    assert [is_open for _, is_open in seen][-1] == 1
    assert min(history["val_error"]) < 0.1 * np.mean((linear - label[400:]) ** 2)
    assert len(history["error"]) < 400  # it ends by itself


def test_the_network_has_its_turn_where_there_are_few_epochs() -> None:
    inputs = np.random.default_rng(0).normal(size=(96, 2)).astype("float32")
    seen, _ = fit(build(2, 64), inputs, inputs[:, 0], rows=64, epochs=4, patience=100)
    assert seen[-1][1] == 1


def test_without_a_network_it_ends_after_the_weakest_strength() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(96, 2)).astype("float32")
    label = inputs[:, 0] + random.normal(size=96)
    seen, history = fit(build(2, 64, has_network=False), inputs, label, rows=64, patience=2)
    assert [round(strength, 1) for strength, _ in seen] == [1, 0.1]
    assert not any(is_open for _, is_open in seen)
    assert len(history["error"]) < 200


@pytest.mark.parametrize(
    ("columns", "rows", "strongest"),
    [(1, 10, 1), (5, 100, 10), (600, 100, 1000), (600, 10**5, 1000), (60, 10**6, 1), (49, 100, 10), (50, 100, 100)],
)
def test_the_path_begins_where_an_l2_has_an_effect(columns: int, rows: int, strongest: float) -> None:
    assert float(LinearFirst(columns=columns, rows=rows).strength) == strongest


def test_a_saved_model_answers_the_same(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(96, 2)).astype("float32")
    model = build(2, 64)
    fit(model, inputs, np.abs(inputs[:, 0]), rows=64, epochs=8, patience=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))


def test_a_model_without_the_layer_and_a_metric_that_is_not_there_are_named() -> None:
    plain = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    cases = [(plain, "loss", "one layer LinearFirst, this one has 0"), (build(1, 8), "val_f1", "no metric 'val_f1'")]
    for model, monitor, text in cases:
        schedule = LinearFirstSchedule(monitor=monitor, mode="min", patience=1, learning_rate=0.1)
        schedule.set_model(model)
        with pytest.raises(InvalidModule, match=text):
            schedule.on_epoch_end(0, {"loss": 1.0})
