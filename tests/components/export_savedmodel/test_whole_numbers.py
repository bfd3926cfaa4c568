"""Integers keep their width from the array to every face of the model; the model's one input has no name of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from trainwright_components.batch_predict.predict import predict_rows
from trainwright_components.datasets.reader import read_split, split_files
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData
from trainwright_components.evaluate.evaluate import evaluate_model
from trainwright_components.export_savedmodel.export import export_model
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.quantize_tflite.quantize import quantize_model
from trainwright_components.quantize_tflite.settings import QuantizationSettings
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.trained_model import TrainedModel

# LiteRT 2.3 and the converter of TensorFlow 2.21 share no fault of ours; each warns once per process.
pytestmark = pytest.mark.filterwarnings("default:.*tf.lite.Interpreter is deprecated:UserWarning")

SEQUENTIAL = """
import keras
from keras import layers
def build_model(context):
    hidden = [layers.Rescaling(1 / 64), layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((4, 3)), *hidden])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""
SUBCLASS = """
import keras
from keras import layers
class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.flat = layers.Rescaling(1 / 64), layers.Flatten()
        self.units = layers.Dense(2, activation="softmax")
    def call(self, pixels):
        return self.units(self.flat(self.scale(pixels)))
def build_model(context):
    model = Net()
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def write_arrays(file: Path, dtype: str, rows: int = 60) -> np.ndarray[Any, Any]:
    least, greatest = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    x = np.random.default_rng(0).integers(max(least, -300), min(greatest, 300) + 1, (rows, 4, 3)).astype(dtype)
    x[0, 0, :2] = least, greatest
    np.savez(file, x=x, y=np.arange(rows) % 2)
    return x


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("bool", "bool"),
        ("int8", "int8"),
        ("uint8", "uint8"),
        ("int16", "int16"),
        (">i2", "int16"),
        ("int32", "int32"),
        ("int64", "int64"),
        ("uint16", "int32"),
        ("uint32", "int64"),
        ("uint64", "float32"),
    ],
)
def test_an_array_is_kept_in_its_width_or_the_next_that_every_face_takes(dtype: str, kept: str, tmp_path: Path) -> None:
    x = write_arrays(tmp_path / "rows.npz", dtype)
    prepared = prepare_data(tmp_path / "rows.npz", tmp_path / "dataset", PrepareSettings())
    assert Schema.load(prepared.dataset).feature("x").dtype == kept
    rows = [
        features["x"] for split in prepared.statistics.splits for features, _ in read_split(prepared.dataset, split)
    ]
    assert {row.dtype.name for row in rows} == {kept}
    assert sorted(row.numpy().tolist() for row in rows) == sorted(x.astype(kept).tolist())


@pytest.mark.parametrize(("dtype", "source"), [("uint8", SEQUENTIAL), ("bool", SEQUENTIAL), ("int16", SUBCLASS)])
def test_the_signature_the_examples_and_the_tflite_file_take_the_width(dtype: str, source: str, tmp_path: Path) -> None:
    x = write_arrays(tmp_path / "rows.npz", dtype)
    dataset = prepare_data(tmp_path / "rows.npz", tmp_path / "dataset", PrepareSettings()).dataset
    (tmp_path / "net.py").write_text(source)
    train_model(dataset, str(tmp_path / "net.py"), tmp_path / "model", training={"epochs": 1})
    kernel, bias = TrainedModel.load(tmp_path / "model").model.get_weights()
    logits = x.reshape(len(x), -1).astype(np.float32) / 64 @ kernel + bias
    wanted = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted /= wanted.sum(axis=1, keepdims=True)

    exported = export_model(
        tmp_path / "model", dataset, tmp_path / "served", golden=tmp_path / "golden", card=tmp_path / "card"
    )
    loaded = tf.saved_model.load(str(exported.folder))
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["x"].dtype.name == dtype
    assert signature(x=tf.constant(x))["probabilities"].numpy() == pytest.approx(wanted, abs=1e-5)

    record = next(iter(tf.data.TFRecordDataset([str(split_files(dataset, "train")[0])])))
    example = tf.train.Example.FromString(record.numpy())
    assert len(example.features.feature["x"].int64_list.value) == 12
    ask = loaded.signatures["serving_examples"]
    assert ask(examples=tf.constant([record.numpy()]))["probabilities"].shape == (1, 2)
    example.features.feature["x"].int64_list.value[0] = 70_000
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"x must be {dtype}"):
        ask(examples=tf.constant([example.SerializeToString()]))

    settings = QuantizationSettings(modes=("float32",))
    quantize_model(exported.folder, dataset, tmp_path / "x.tflite", settings=settings)
    interpreter = Interpreter(model_path=str(tmp_path / "x.tflite"))
    assert [detail["dtype"] for detail in interpreter.get_input_details()] == [np.dtype(dtype).type]
    (answer,) = interpreter.get_signature_runner("serving_default")(x=x[:1]).values()
    assert answer == pytest.approx(wanted[:1], abs=1e-5)

    assert predict_rows(exported.folder, tmp_path / "rows.npz", tmp_path / "predictions").rows == 60
    wide = tmp_path / "wide.npz"
    np.savez(wide, x=np.full((1, 4, 3), 70_000))
    with pytest.raises(InvalidData, match=r"wide.npz, row 1: column 'x' must be an integer from .* got 70000"):
        predict_rows(exported.folder, wide, tmp_path / "more")


def test_a_model_of_wide_integers_is_scored_on_narrower_ones_and_not_the_reverse(tmp_path: Path) -> None:
    """As a model is that was trained before integers kept their width."""
    datasets = {}
    for dtype in ("int64", "uint8"):
        write_arrays(tmp_path / f"{dtype}.npz", dtype)
        datasets[dtype] = prepare_data(tmp_path / f"{dtype}.npz", tmp_path / dtype, PrepareSettings()).dataset
        (tmp_path / "net.py").write_text(SEQUENTIAL)
        train_model(datasets[dtype], str(tmp_path / "net.py"), tmp_path / f"model {dtype}", training={"epochs": 1})
    assert evaluate_model(tmp_path / "model int64", datasets["uint8"]).metrics["accuracy"] >= 0
    with pytest.raises(InvalidData, match=r"takes 'x' as uint8 \(4, 3\), this dataset has it as int64"):
        evaluate_model(tmp_path / "model uint8", datasets["int64"])


def test_an_expected_width_refuses_numbers_beyond_it(tmp_path: Path) -> None:
    write_arrays(tmp_path / "narrow.npz", "uint8")
    expected = prepare_data(tmp_path / "narrow.npz", tmp_path / "dataset", PrepareSettings()).dataset
    write_arrays(tmp_path / "wide.npz", "int16")
    with pytest.raises(InvalidData, match=r"x +numeric uint8\[4, 3\] +-32768 to 32767"):
        prepare_data(tmp_path / "wide.npz", tmp_path / "other", PrepareSettings(expected_schema=str(expected)))
