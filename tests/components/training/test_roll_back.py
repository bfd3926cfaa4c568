"""A loss that is NaN or infinite ends the training run, or takes it back to a good checkpoint at a lower rate."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.errors import InvalidSetting, TrainingFailed
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.result import read_result
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import load_module

# The loss is not a number as long as the rate is above a limit and 7 steps were taken.
MODULE = """
import keras

DEFAULT_PARAMS = {"limit": 0.03, "from": 7, "schedule": False}

def preprocess(features, context):
    return {"a": features["a"]}

class Fragile(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        steps, rate = self.optimizer.iterations, self.optimizer.learning_rate
        is_bad = keras.ops.logical_and(steps >= self.bad_from, rate > self.limit)
        return loss * keras.ops.where(is_bad, float("nan"), 1.0)

def build_model(context):
    a = keras.Input((6,), name="a")
    model = Fragile({"a": a}, keras.layers.Dense(3, activation="softmax")(a))
    model.bad_from, model.limit = context.params["from"], context.params["limit"]
    rate = keras.optimizers.schedules.CosineDecay(0.1, 9) if context.params["schedule"] else 0.1
    model.compile(keras.optimizers.SGD(rate), loss="sparse_categorical_crossentropy")
    return model
"""
SETTINGS = TrainingSettings(epochs=2, batch_size=10, checkpoint_every_steps=4, on_nan="roll_back", steps_per_call=1)

Write = Callable[[str], Path]


def test_it_goes_back_at_a_lower_rate_until_the_loss_is_a_number(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    result = run_training(module, tiny_dataset, tmp_path / "model", settings=SETTINGS)
    backs = [(one.step, one.to_step, one.learning_rate) for one in result.timeline.roll_backs]
    assert backs == [(7, 4, pytest.approx(0.05)), (7, 4, pytest.approx(0.025))]
    assert (result.steps, len(result.history)) == (12, 2)
    assert all(np.isfinite(list(epoch.values())).all() for epoch in result.history)
    assert read_result(tmp_path / "model").timeline == result.timeline
    assert float(TrainedModel.load(tmp_path / "model").model.optimizer.learning_rate) == pytest.approx(0.025)


def test_before_the_first_checkpoint_it_goes_back_to_the_beginning(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    settings = replace(SETTINGS, roll_back_factor=0.1)
    result = run_training(module, tiny_dataset, tmp_path / "model", params={"from": 1}, settings=settings)
    assert [(one.step, one.to_step) for one in result.timeline.roll_backs] == [(1, 0)]
    assert result.steps == 12


def test_it_tries_a_bounded_number_of_times(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    module = load_module(write_module(MODULE))
    with pytest.raises(
        TrainingFailed, match=r"the loss became nan in epoch 2, .* it had gone back to a checkpoint 3 times"
    ):
        run_training(module, tiny_dataset, tmp_path / "model", params={"limit": 0.0}, settings=SETTINGS)


def test_a_checkpoint_never_holds_weights_that_are_no_numbers(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    """The loss of a step is a number although the gradient, and so the weights after it, are not."""
    text = MODULE.replace(
        "return loss * ", "loss += keras.ops.sum(keras.ops.sqrt(keras.ops.relu(-y_pred)))\n        return loss * "
    )
    module = load_module(write_module(text))
    settings = replace(SETTINGS, on_nan="stop", checkpoint_every_steps=1)
    said = r"^the weight dense\w*/kernel is NaN or infinite: noticed at step 1; it was a number at step 0,"
    with pytest.raises(TrainingFailed, match=said):
        run_training(module, tiny_dataset, tmp_path / "model", settings=settings)
    assert list((tmp_path / "model").glob("checkpoints/*")) == []


def test_a_rate_that_a_schedule_decides_cannot_be_lowered(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    with pytest.raises(InvalidSetting, match="that of the optimizer follows CosineDecay; compile with a number"):
        run_training(module, tiny_dataset, tmp_path / "model", params={"schedule": True}, settings=SETTINGS)


# ReLU makes nothing of NaN: from a row with NaN on the loss is that of the biases.
HIDDEN = """
import keras
import tensorflow as tf
from trainwright_components.datasets.reader import read_split

DEFAULT_PARAMS = {"nan": "a", "from": 41}

def make_dataset(split, context):
    def harm(number, row):
        features, label, weight = row
        is_bad = number >= context.params["from"]
        a = tf.where(is_bad & (context.params["nan"] == "a"), float("nan"), features["a"])
        b = tf.where(is_bad & (context.params["nan"] == "b"), float("nan"), features["b"])
        weight = tf.where(is_bad & (context.params["nan"] == "weight"), float("nan"), weight)
        return {"a": a, "b": b}, label, weight
    return read_split(context.dataset, split).enumerate().map(harm)

def preprocess(features, context):
    is_odd = context.params["nan"] == "preprocess"
    return {"input": tf.math.log(-1.0 - abs(features["a"])) if is_odd else features["a"]}

def build_model(context):
    a = keras.Input((6,), name="input")
    x = keras.layers.Dense(4, activation="relu")(a)
    model = keras.Model({"input": a}, keras.layers.Dense(3)(x))
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""


@pytest.mark.parametrize(
    ("nan", "said"),
    [
        ("a", r"^a of the train split holds NaN, which reaches the model: fill it in preprocess; the "),
        ("weight", r"^the weights of the train split hold NaN; the loss became nan in epoch 1, step 6,"),
        ("preprocess", r"^preprocess of net\.py gives the model NaN in input; the "),
    ],
)
@pytest.mark.parametrize("on_nan", ["stop", "roll_back"])
def test_inputs_that_are_no_numbers_are_named_first_and_no_rate_helps(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, nan: str, said: str, on_nan: str
) -> None:
    params = {"nan": nan, "from": 50}
    settings = replace(SETTINGS, shuffle=False, on_nan=on_nan)
    with pytest.raises(TrainingFailed, match=said) as failure:
        run_training(load_module(write_module(HIDDEN)), tiny_dataset, tmp_path / "m", params=params, settings=settings)
    assert "going back would not help" in str(failure.value) or on_nan == "stop"


def test_weights_that_the_loss_hides_are_seen_after_an_epoch(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, shuffle=False, on_nan="stop", epochs=9, checkpoint_every_steps=0)
    with pytest.raises(TrainingFailed, match="is NaN or infinite: noticed at step 6; it was a number at step 0, at"):
        run_training(load_module(write_module(HIDDEN)), tiny_dataset, tmp_path / "model", settings=settings)


def test_nan_that_preprocess_takes_out_is_not_blamed(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = HIDDEN.replace('model.compile("sgd"', "model.compile(keras.optimizers.SGD(1e30)")
    settings = replace(SETTINGS, on_nan="stop")
    with pytest.raises(TrainingFailed, match=r"^the (loss|weight) "):
        run_training(
            load_module(write_module(text)), tiny_dataset, tmp_path / "m", params={"nan": "b"}, settings=settings
        )


def test_a_stored_nan_is_found_among_many_rows(
    write_module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwright_components.training.data.nan_inputs._ROWS", 8)
    schema = Schema(
        features=tuple(Feature(name=name, kind="numeric", dtype="float32", shape=(6,)) for name in ("a", "b")),
        label=Label(name="kind", kind="class", dtype="int64", class_names=("x", "y", "z")),
    )
    a, b = np.ones((2, 30, 6), np.float32)
    a[20, 3] = b[5] = np.nan
    with DatasetWriter(tmp_path, schema, shards={"train": 1}) as writer:
        writer.write("train", {"a": a, "b": b, "kind": np.arange(30) % 3})
    module = load_module(write_module(MODULE))
    with pytest.raises(TrainingFailed, match=r"^a of the train split holds NaN, .*; the loss became nan in epoch 1"):
        run_training(module, tmp_path, tmp_path / "m", settings=replace(SETTINGS, shuffle=False))
