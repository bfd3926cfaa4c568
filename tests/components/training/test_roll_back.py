"""A loss that is no number ends the training, or takes it back to a good checkpoint at a lower rate."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.errors import InvalidSetting, TrainingFailed
from trainwright_components.model_module import load_module
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.result import read_result
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel

# The loss is no number as long as the rate is above a limit and 7 steps were taken.
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
    backs = [(one.step, one.to_step, one.learning_rate) for one in result.course.roll_backs]
    assert backs == [(7, 4, pytest.approx(0.05)), (7, 4, pytest.approx(0.025))]
    assert (result.steps, len(result.history)) == (12, 2)
    assert all(np.isfinite(list(epoch.values())).all() for epoch in result.history)
    assert read_result(tmp_path / "model").course == result.course
    assert float(TrainedModel.load(tmp_path / "model").model.optimizer.learning_rate) == pytest.approx(0.025)


def test_before_the_first_checkpoint_it_goes_back_to_the_beginning(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    settings = replace(SETTINGS, roll_back_factor=0.1)
    result = run_training(module, tiny_dataset, tmp_path / "model", params={"from": 1}, settings=settings)
    assert [(one.step, one.to_step) for one in result.course.roll_backs] == [(1, 0)]
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
    with pytest.raises(TrainingFailed, match=r"the weight dense\w*/kernel is no number any more at step 1,"):
        run_training(module, tiny_dataset, tmp_path / "model", settings=settings)
    assert list((tmp_path / "model").glob("checkpoints/*")) == []


def test_a_rate_that_a_schedule_decides_cannot_be_lowered(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    module = load_module(write_module(MODULE))
    with pytest.raises(InvalidSetting, match="that of the optimizer follows CosineDecay; compile with a number"):
        run_training(module, tiny_dataset, tmp_path / "model", params={"schedule": True}, settings=SETTINGS)
