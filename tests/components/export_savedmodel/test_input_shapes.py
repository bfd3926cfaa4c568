"""A model takes features as with Keras' fit: under its keys, with a last axis of size 1 added or dropped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from trainwright_components.evaluate.evaluate import evaluate_model
from trainwright_components.export_savedmodel.export import export_model
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.quantize_tflite.quantize import quantize_model
from trainwright_components.quantize_tflite.settings import QuantizationSettings
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.trained_model import TrainedModel

# LiteRT 2.3 and the converter of TensorFlow 2.21 share no fault of ours; each warns once per process.
# Keras 3.15 warns of each key that differs from its input's name.
pytestmark = pytest.mark.filterwarnings(
    "default:.*tf.lite.Interpreter is deprecated:UserWarning",
    "ignore:When providing `inputs` as a dict:UserWarning",
)

WIDER = """
import keras
from keras import layers
def build_model(context):
    hidden = [layers.Rescaling(1 / 64), layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((4, 3, 1)), *hidden])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""
NARROWER = WIDER.replace("(4, 3, 1)", "(4,)").replace("layers.Flatten(), ", "")
KEYS = """
import keras
def build_model(context):
    upper, mixed = keras.Input((), name="i0"), keras.Input((1,), name="i1")
    column = keras.layers.Reshape((1,))(upper)
    output = keras.layers.Dense(1)(keras.layers.Concatenate()([column, mixed]))
    model = keras.Model({"AGE": upper, "Age": mixed}, output)
    model.compile("adam", "mse")
    return model
"""
WORDS = """
import keras
def build_model(context):
    text = keras.Input((1,), dtype="string")
    vectorize = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(4, 3)(vectorize(text)))
    model = keras.Model(text, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    return model
"""


@pytest.mark.parametrize(("shape", "source"), [((4, 3), WIDER), ((4, 1), NARROWER)])
def test_a_last_axis_of_size_1_is_added_or_dropped_by_the_model_and_the_signatures_keep_the_feature(
    shape: tuple[int, ...], source: str, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, *shape)).astype("uint8")
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(60) % 2)
    dataset = prepare_data(tmp_path / "rows.npz", tmp_path / "dataset", PrepareSettings()).dataset
    (tmp_path / "net.py").write_text(source)
    train_model(dataset, str(tmp_path / "net.py"), tmp_path / "model", training={"epochs": 1})
    assert evaluate_model(tmp_path / "model", dataset).metrics["accuracy"] >= 0
    kernel, bias = TrainedModel.load(tmp_path / "model").model.get_weights()
    wanted = tf.nn.softmax(x.reshape(60, -1).astype("float32") / 64 @ kernel + bias).numpy()

    exported = export_model(
        tmp_path / "model", dataset, tmp_path / "served", golden=tmp_path / "golden", card=tmp_path / "card"
    )
    signature = tf.saved_model.load(str(exported.folder)).signatures["serving_default"]
    assert signature.structured_input_signature[1]["x"].shape.as_list() == [None, *shape]
    assert signature(x=tf.constant(x))["probabilities"].numpy() == pytest.approx(wanted, abs=1e-5)

    quantize_model(exported.folder, dataset, tmp_path / "x.tflite", settings=QuantizationSettings(modes=("float32",)))
    interpreter = Interpreter(model_path=str(tmp_path / "x.tflite"))
    (answer,) = interpreter.get_signature_runner("serving_default")(x=x[:1]).values()
    assert answer == pytest.approx(wanted[:1], abs=1e-5)


def export_trained(source: str, rows: list[dict[str, Any]], folder: Path) -> Any:
    """The default signature of the model that `source` makes, trained on `rows`."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepare_data(folder / "rows.jsonl", folder / "dataset", PrepareSettings(label="y")).dataset
    (folder / "net.py").write_text(source)
    train_model(dataset, str(folder / "net.py"), folder / "model", training={"epochs": 1})
    assert evaluate_model(folder / "model", dataset).metrics
    exported = export_model(
        folder / "model", dataset, folder / "served", golden=folder / "golden", card=folder / "card"
    )
    return tf.saved_model.load(str(exported.folder))


def test_the_keys_of_a_models_inputs_count_and_not_their_names(tmp_path: Path) -> None:
    rows = [{"AGE": i / 10, "Age": i / 5 + 0.5, "y": i * 1.5} for i in range(60)]
    served = export_trained(KEYS, rows, tmp_path)
    kernel, bias = TrainedModel.load(tmp_path / "model").model.get_weights()
    ask = served.signatures["serving_default"]
    (answer,) = ask(AGE=tf.constant([1.0, 2.0]), Age=tf.constant([30.0, 50.0])).values()
    assert answer.numpy().ravel() == pytest.approx((np.array([[1.0, 30.0], [2.0, 50.0]]) @ kernel + bias).ravel())


def test_strings_may_lack_the_axis_of_the_models_input(tmp_path: Path) -> None:
    rows = [{"words": ("good", "bad")[i % 2] + f" {i}", "y": i % 2} for i in range(60)]
    ask = export_trained(WORDS, rows, tmp_path).signatures["serving_default"]
    assert ask.structured_input_signature[1]["words"].shape.as_list() == [None]
    assert ask(words=tf.constant(["good", "bad 7"]))["probabilities"].shape == (2, 2)
