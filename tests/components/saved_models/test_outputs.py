"""What a model's outputs are taken to mean."""

from typing import Any

import keras
import numpy as np
import pytest

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidData, InvalidModule
from trainwright_components.saved_models.graph_names import can_be_arguments, graph_names
from trainwright_components.saved_models.outputs import OutputReader, puts_out_logits

PIXELS = Feature(name="pixels", kind="numeric", dtype="float32", shape=(4,))


def schema(*class_names: str, shape: tuple[int, ...] = ()) -> Schema:
    if class_names:
        label = Label(name="y", kind="class", dtype="int64", class_names=class_names)
    else:
        label = Label(name="y", kind="number", dtype="float32", shape=shape)
    return Schema(features=(PIXELS,), label=label)


def model(units: int, activation: str | None = None, loss: Any = None) -> keras.Model:
    built = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    if loss is not None:
        built.compile("sgd", loss)
    return built


@pytest.mark.parametrize(
    ("activation", "loss", "is_logits"),
    [
        ("softmax", "sparse_categorical_crossentropy", False),
        (None, keras.losses.SparseCategoricalCrossentropy(from_logits=True), True),
        (None, [keras.losses.SparseCategoricalCrossentropy(from_logits=True)], True),
        ("softmax", keras.losses.SparseCategoricalCrossentropy(), False),
        (None, None, True),
        ("sigmoid", None, False),
    ],
)
def test_the_loss_knows_whether_outputs_are_logits(activation: str | None, loss: Any, is_logits: bool) -> None:
    assert puts_out_logits(model(3, activation, loss)) is is_logits


def test_logits_become_probabilities() -> None:
    reader = OutputReader.for_model(model(3), schema("a", "b", "c"))
    odds = np.exp([[1.0, 2.0, 3.0]])
    assert reader.read(keras.ops.log(odds)).numpy() == pytest.approx(odds / odds.sum(), rel=1e-5)


@pytest.mark.parametrize(("activation", "output"), [("sigmoid", 0.8), (None, np.log(4))])
def test_one_unit_is_the_probability_of_the_second_class(activation: str | None, output: float) -> None:
    reader = OutputReader.for_model(model(1, activation), schema("no", "yes"))
    assert reader.read(np.array([[output]], np.float32)).numpy() == pytest.approx(np.array([[0.2, 0.8]]), rel=1e-5)


def test_answers_are_float32_whatever_the_model_computes_in() -> None:
    reader = OutputReader.for_model(model(2, "softmax"), schema("no", "yes"))
    assert reader.read(np.array([[0.25, 0.75]], np.float16)).dtype == "float32"


@pytest.mark.parametrize(("shape", "output"), [((), (5, 1)), ((), (5,)), ((2,), (5, 2)), ((2,), (5, 2, 1))])
def test_numbers_get_the_shape_of_the_label(shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    reader = OutputReader.for_model(model(1), schema(shape=shape))
    assert reader.read(np.zeros(output, np.float32)).shape == (5, *shape)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (np.zeros((2, 5), np.float32), "'y' has 3 classes, but the model puts out the shape .*needs 3 units"),
        ([np.zeros((2, 3)), np.zeros((2, 3))], "puts out 2 tensors; return a dict"),
        ({"a": np.zeros((2, 3)), "b": np.zeros((2, 3))}, "puts out 'a', 'b'; call the one .* 'y'"),
    ],
)
def test_outputs_that_do_not_fit_the_label_are_named(outputs: Any, words: str) -> None:
    with pytest.raises(InvalidModule, match=words):
        OutputReader.for_model(model(3), schema("a", "b", "c")).read(outputs)


def test_the_output_named_like_the_label_is_picked() -> None:
    reader = OutputReader.for_model(model(1), schema())
    assert reader.read({"y": np.ones((2, 1), np.float32), "z": np.zeros((2, 9))}).numpy().tolist() == [1, 1]


def test_without_a_label_nothing_is_known() -> None:
    with pytest.raises(InvalidData, match="has no label"):
        OutputReader.for_model(model(1), Schema(features=(PIXELS,)))


def test_graph_names_are_accepted_and_differ() -> None:
    names = graph_names(["age", "mean radius (cm)", "mean_radius__cm_", "größe", "3d", "Age"])
    assert names == ("age", "mean_radius__cm_", "mean_radius__cm__", "gr__e", "input_3d", "Age_")


def test_names_that_python_keeps_for_itself_are_changed() -> None:
    assert graph_names(["class", "self", "None", "cls", "Class"]) == (
        "input_class",
        "input_self",
        "input_None",
        "cls",
        "Class",
    )


@pytest.mark.parametrize(
    ("names", "is_possible"),
    [
        (["age", "größe (cm)"], True),
        (["Age", "age"], True),
        (["age", "größe (cm)", "class"], False),
        (["a b", "a_b"], False),
        (["grz", "größe"], False),  # gr__e comes before grz
        (["3d", "b"], False),  # input_3d comes after b, arg_3d before
        (["m²"], False),  # Python takes the digit for a letter, but not in a name
    ],
)
def test_a_loaded_signature_has_clients_names_if_python_takes_them_in_the_same_order(
    names: list[str], is_possible: bool
) -> None:
    assert can_be_arguments(names, graph_names(names)) == is_possible
