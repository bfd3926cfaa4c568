"""Data that cannot be trained on is refused in words before the first step, for validation too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidData, InvalidModule, TrainwrightError
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.run import run_training
from trainwright_components.user_module.module import load_module

Write = Callable[[str], Path]
MODULE = """
import keras
import numpy as np
import tensorflow as tf

DEFAULT_PARAMS = {"train": "good()", "validation": "good()", "units": 3, "loss": "sparse_categorical_crossentropy"}
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = np.arange(24) % 3
rows = tf.data.Dataset.from_tensor_slices

def good(labels=Y):
    return rows(({"x": X}, labels))

def with_one(value, at, dtype="int64"):
    labels = Y.astype(dtype)
    labels[at] = value
    return good(labels)

def make_dataset(split, context):
    return eval(context.params[split], globals())

def build_model(context):
    x = keras.Input((4,), name="x")
    activation = "softmax" if context.params["units"] > 1 else "sigmoid"
    model = keras.Model({"x": x}, keras.layers.Dense(context.params["units"], activation=activation)(x))
    model.compile("sgd", context.params["loss"])
    return model
"""
FAST = TrainingSettings(epochs=1, batch_size=8, shuffle=False)
DICT = r"return a tf\.data\.Dataset of \(features, label\) or \(features, label, weight\), where features is a dict"


def train(module: Path, dataset: Path, folder: Path, settings: TrainingSettings = FAST, **params: Any) -> int:
    return run_training(load_module(module), dataset, folder, params=params, settings=settings).steps


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ("None", InvalidModule, f"returned None for the SPLIT split; {DICT}"),
        ("[({'x': X[0]}, 0)]", InvalidModule, f"returned an object of type list for the SPLIT split; {DICT}"),
        ("rows((X, Y))", InvalidModule, r"gives features as one tensor of shape \(4,\) for the SPLIT split"),
        ("rows(X)", InvalidModule, r"gives single rows as one tensor of shape \(4,\) for the SPLIT split"),
        ("rows(({'x': X}, Y, Y, Y))", InvalidModule, "gives rows of 4 parts for the SPLIT split"),
        ("rows(({'x': tf.sparse.from_dense(X)}, Y))", InvalidModule, "gives 'x' as a SparseTensor, not as a dense"),
        ("good().take(0)", InvalidData, r"^the SPLIT split of make_dataset of net\.py has no rows$"),
        ("good().filter(lambda x, y: False).repeat()", InvalidData, "^the SPLIT split of make_dataset .* has no rows$"),
        ("rows(({'x': X},))", InvalidData, "^the SPLIT split of make_dataset of .* has no labels, which the loss"),
        ("rows({'x': X})", InvalidData, "^the SPLIT split of make_dataset of .* has no labels, which the loss"),
        ("good(-Y)", InvalidData, "the SPLIT split .*: the label is -1, but the model puts out 3 classes, 0 to 2"),
        ("good(Y + 1)", InvalidData, "the SPLIT split .*: the label is 3, but the model puts out 3 classes, 0 to 2"),
        (
            "good(Y + 0.5)",
            InvalidData,
            r"the SPLIT split .*: the label is 0\.5, but its loss takes the number of a class",
        ),
        ("good(Y.astype('U1'))", InvalidData, "the SPLIT split .*: the label is text; number the classes from 0"),
        (
            "good(np.eye(3)[Y])",
            InvalidData,
            "the SPLIT split .*: the label has 3 columns, but its loss takes the number",
        ),
        ("with_one(9, 20)", InvalidData, "the SPLIT split .*: the label is 9, but the model puts out 3 classes"),
    ],
)
def test_a_dataset_that_cannot_be_trained_on_is_refused(
    write_module: Write,
    tiny_dataset: Path,
    tmp_path: Path,
    split: str,
    made: str,
    error: type[TrainwrightError],
    message: str,
) -> None:
    """The last label is that of a later batch: it is found while the batch is read."""
    with pytest.raises(error, match=message.replace("SPLIT", split)):
        train(write_module(MODULE), tiny_dataset, tmp_path / "model", **dict[str, Any]({split: made}))
    assert not (tmp_path / "model" / "training.json").exists()


@pytest.mark.parametrize(
    ("labels", "units", "loss", "message"),
    [
        ("np.eye(4)[Y]", 3, "categorical_crossentropy", "the label has 4 columns, but the model puts out 3 classes"),
        ("Y", 3, "categorical_crossentropy", "the label has no column for each class.*compile with sparse_categorical"),
        (
            "Y[:, None]",
            3,
            "categorical_crossentropy",
            "the label has 1 columns, .*for the number of a class compile with sparse_categorical_crossentropy",
        ),
        ("Y", 1, "binary_crossentropy", "the label is 2, but its loss is one of the classes 0 and 1"),
        ("(Y % 2 * 2 - 1.0)", 1, "binary_crossentropy", "the label is -1, but its loss is one of the classes 0 and 1"),
    ],
)
def test_labels_of_other_losses_are_refused_too(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, labels: str, units: int, loss: str, message: str
) -> None:
    with pytest.raises(InvalidData, match=rf"^the train split of make_dataset of net\.py: {message}"):
        train(write_module(MODULE), tiny_dataset, tmp_path / "model", train=f"good({labels})", units=units, loss=loss)


def test_the_output_with_an_unusable_label_is_named(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    text = MODULE.replace("def build_model", "def build_one").replace("X}, labels", "X}, (Y, labels)")
    text += """
def build_model(context):
    x = keras.Input((4,), name="x")
    outputs = [keras.layers.Dense(3, "softmax", name="one")(x), keras.layers.Dense(2, "softmax", name="two")(x)]
    model = keras.Model({"x": x}, outputs)
    model.compile("sgd", {"one": "sparse_categorical_crossentropy", "two": "sparse_categorical_crossentropy"})
    return model
"""
    assert (
        train(write_module(text), tiny_dataset, tmp_path / "good", train="good(Y % 2)", validation="good(Y % 2)") == 3
    )
    with pytest.raises(InvalidData, match="the label of output 'two' is 2, but the model puts out 2 classes, 0 to 1"):
        train(write_module(text), tiny_dataset, tmp_path / "bad")


def test_labels_that_a_loss_leaves_out_and_losses_of_ones_own_are_no_reason(
    write_module: Write, tiny_dataset: Path, tmp_path: Path
) -> None:
    loss = "keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)"
    text = MODULE.replace('context.params["loss"]', loss)
    assert train(write_module(text), tiny_dataset, tmp_path / "one", train="with_one(-1, 3)") == 3
    text = MODULE.replace('context.params["loss"]', "own") + "def own(y, p): return keras.ops.mean(p, -1)\n"
    assert train(write_module(text), tiny_dataset, tmp_path / "two", train="good(-Y)") == 3


@pytest.mark.parametrize("made", ["rows({'x': X})", "rows(({'x': X},))"])
def test_a_model_whose_loss_needs_no_labels_trains_without(
    write_module: Write, tiny_dataset: Path, tmp_path: Path, made: str
) -> None:
    text = (
        MODULE.replace("keras.Model({", "Mine({")
        + """
class Mine(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred ** 2)
"""
    )
    assert train(write_module(text), tiny_dataset, tmp_path / "model", train=made, validation=made) == 3


def test_rows_that_make_no_batch_are_told_in_words(write_module: Write, tiny_dataset: Path, tmp_path: Path) -> None:
    made = (
        "tf.data.Dataset.from_generator(lambda: (({'x': [0.0] * (3 + n)}, n) for n in range(9)), "
        "output_signature=({'x': tf.TensorSpec((None,))}, tf.TensorSpec((), tf.int64)))"
    )
    with pytest.raises(InvalidData, match="rows of one batch differ in shape"):
        train(write_module(MODULE), tiny_dataset, tmp_path / "model", train=made)
