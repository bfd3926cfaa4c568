"""A loss or a last layer that does not stand for the label is refused in the label's words, before any training."""

from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidModule, InvalidSetting
from trainwright_components.training.data.class_weights import class_weighting
from trainwright_components.training.data.label_fit import check_label_fit
from trainwright_components.training.data.labels import output_symbols
from trainwright_components.user_module.module import load_module

FOUR = Label(name="kind", kind="class", dtype="int64", class_names=("ash", "elm", "fir", "oak"))
TWO = Label(name="kind", kind="class", dtype="int64", class_names=("no", "yes"))
PRICE = Label(name="price", kind="number", dtype="float32")
PLACE = Label(name="place", kind="number", dtype="float32", shape=(2,))
TAGS = Label(
    name="labels", kind="multilabel", dtype="int64", shape=(3,), value_names=("sea", "sky", "road"), is_joined=True
)
MODULE = """import keras


def build_model(context):
    hidden = keras.layers.Dense(8)
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense({last})])
    model.compile(loss={loss})
    return model
"""
SPARSE, CATEGORICAL = '"sparse_categorical_crossentropy"', '"categorical_crossentropy"'
BINARY = '"binary_crossentropy"'


@pytest.fixture
def check(write_module: Callable[[str], Path]) -> Callable[[Label, str, str], None]:
    def check(label: Label, last: str, loss: str) -> None:
        module = load_module(write_module(MODULE.format(last=last, loss=loss)))
        model = module.build_model(None)  # type: ignore[arg-type]  # which it does not look at
        feature = Feature(name="x", kind="numeric", dtype="float32", shape=(2,))
        schema = Schema(features=(feature,), label=label)
        check_label_fit(model, output_symbols(model), schema, location=module.location)

    return check


@pytest.mark.parametrize(
    ("label", "last", "loss", "message"),
    [
        (
            FOUR,
            "3, activation='softmax'",
            SPARSE,
            r"the label 'kind' has 4 classes, but the model puts out the shape \(batch, 3\); its last layer needs 4 "
            r"units \(net\.py, line 6\)",
        ),
        (TWO, "3, activation='softmax'", SPARSE, r"'kind' has 2 classes.*\(batch, 3\).*needs 2 units"),
        (PRICE, "2", '"mse"', r"'price' has the shape \(\) per row.*\(batch, 2\).*needs 1 units \(net\.py, line 6\)"),
        (PLACE, "1", '"mse"', r"'place' has the shape \(2,\) per row.*needs 2 units"),
        (
            FOUR,
            "4, activation='softmax'",
            CATEGORICAL,
            r"the model of net\.py puts out \(batch, 4\) and has the loss categorical_crossentropy, which takes one "
            r"column for each class, but the label 'kind' has 4 classes \(ash, elm, fir, oak\) and is stored as "
            r'their numbers, 0 to 3; compile it with loss="sparse_categorical_crossentropy" \(net\.py, line 7\)',
        ),
        (
            FOUR,
            "4",
            "keras.losses.CategoricalCrossentropy(from_logits=True)",
            r"loss=keras\.losses\.SparseCategoricalCrossentropy\(from_logits=True\) \(net\.py, line 7\)",
        ),
        (
            FOUR,
            "4, activation='sigmoid'",
            BINARY,
            r"binary_crossentropy, which is for 2 classes, but the label 'kind' has 4 classes .*end the model with "
            r'keras\.layers\.Dense\(4, activation="softmax"\) \(net\.py, line 6\) and compile it with loss="sparse_',
        ),
        (
            TWO,
            "2, activation='sigmoid'",
            BINARY,
            r"\(batch, 2\) .*takes one column, the probability of 'yes': .*Dense\(1, activation=\"sigmoid\"\)",
        ),
        (FOUR, "4, activation='softmax'", '"mse"', r"loss mse, which is for numbers, but the label 'kind' has 4"),
        (TWO, "1, activation='softmax'", BINARY, r"softmax over one unit is 1 for every row"),
        (
            PRICE,
            "1",
            SPARSE,
            r"sparse_categorical_crossentropy, which is for classes, but the label 'price' is a number; compile it "
            r'with loss="mse" \(net\.py, line 7\).*data\.task=classification',
        ),
        (
            TAGS,
            "3, activation='softmax'",
            CATEGORICAL,
            r"loss categorical_crossentropy, which is not for such labels: the label 'labels' has 3 answers of 0 and "
            r"1, of which a row may have any; end the model with keras\.layers\.Dense\(3, activation=\"sigmoid\"\) "
            r'\(net\.py, line 6\) and compile it with loss="binary_crossentropy"',
        ),
        (TAGS, "3, activation='softmax'", BINARY, r"but softmax lets one label of all be likely"),
        (TAGS, "3", '"mse"', r"loss mse, which is not for such labels"),
        (TAGS, "2, activation='sigmoid'", BINARY, r"'labels' has the shape \(3,\) per row.*needs 3 units"),
        (PRICE, "3, activation='softmax'", '["categorical_crossentropy"]', r"for classes, .*'price' is a number"),
    ],
)
def test_a_model_that_does_not_stand_for_the_label_is_refused(
    check: Callable[[Label, str, str], None], label: Label, last: str, loss: str, message: str
) -> None:
    with pytest.raises(InvalidModule, match=message):
        check(label, last, loss)


@pytest.mark.parametrize(
    ("label", "last", "loss"),
    [
        (FOUR, "4, activation='softmax'", SPARSE),
        (FOUR, "4", "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"),
        (FOUR, "4, activation='softmax'", "lambda labels, outputs: outputs[:, 0]"),
        (TWO, "1, activation='sigmoid'", BINARY),
        (TWO, "1, activation='sigmoid'", '"mse"'),  # Brier's score
        (TWO, "2, activation='softmax'", SPARSE),
        (PRICE, "1", "keras.losses.Huber()"),
        (PRICE, "1, activation='sigmoid'", BINARY),  # a share
        (TAGS, "3, activation='sigmoid'", BINARY),
        (TAGS, "3", "keras.losses.BinaryCrossentropy(from_logits=True)"),
        (TAGS, "3, activation='sigmoid'", '"mse"'),
        (PLACE, "2", '"mae"'),
        (PLACE, "2, activation='softmax'", CATEGORICAL),  # a distribution
    ],
)
def test_a_model_that_stands_for_the_label_passes(
    check: Callable[[Label, str, str], None], label: Label, last: str, loss: str
) -> None:
    check(label, last, loss)


def test_every_loss_of_keras_for_numbers_is_known_as_one(check: Callable[[Label, str, str], None]) -> None:
    """Keras' own list; hinges and the losses of images and of similarity are for labels of their own."""
    others = ("hinge", "crossentropy", "dice", "tversky", "iou", "circle", "similarity", "ctc", "kl")
    names = [name for name in dir(keras.losses) if name[0].isupper() and name != "Loss"]
    numeric = [name for name in names if not any(other in name.lower() for other in others)]
    assert {"MeanSquaredError", "Huber", "LogCosh", "Poisson"} <= set(numeric)
    for name in numeric:
        with pytest.raises(InvalidModule, match="which is for numbers"):
            check(FOUR, "4", f"keras.losses.{name}()")


def test_classes_of_several_labels_have_no_weights() -> None:
    schema = Schema(features=(), label=TAGS)
    with pytest.raises(InvalidSetting, match=r"class_weights cannot be used with several labels.*data\.weight_column"):
        class_weighting({"sea": 2.0}, schema)
