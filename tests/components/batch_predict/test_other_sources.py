"""Images, arrays and records are scored without a label too, in bounded memory and through the component."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from kfp import dsl
from PIL import Image

from trainwright_components.batch_predict.component import batch_predict
from trainwright_components.batch_predict.predict import PredictSettings, predict_rows
from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.errors import InvalidData


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers the mean of the red channel of an encoded image."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
        def serve(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            def red(content: tf.Tensor) -> tf.Tensor:
                pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(pixels[..., 0], tf.float32))

            return {"red": tf.map_fn(red, image, fn_output_signature=tf.float32)}

    model = Model()
    folder = tmp_path_factory.mktemp("image") / "model"
    tf.saved_model.save(model, str(folder), signatures=model.serve)
    (folder / "assets.extra").mkdir()
    Schema(features=(Feature(name="image", kind="image", dtype="string"),)).save(folder / "assets.extra")
    return folder


def test_a_flat_folder_of_images_keeps_their_paths(image_model: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for red in (10, 200, 30):
        Image.new("RGB", (4, 4), (red, 0, 0)).save(tmp_path / "images" / f"{red:03d}.webp", lossless=True)
    scored = predict_rows(image_model, tmp_path / "images", tmp_path / "out")
    assert [json.loads(line) for line in scored.file.read_text().splitlines()] == [
        {"row": 1, "path": "010.webp", "prediction": 10.0},
        {"row": 2, "path": "030.webp", "prediction": 30.0},
        {"row": 3, "path": "200.webp", "prediction": 200.0},
    ]


def test_an_unreadable_image_is_named(image_model: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"nothing")
    with pytest.raises(InvalidData, match=r"images/a\.png: column 'image': this is not an image"):
        predict_rows(image_model, tmp_path / "images", tmp_path / "out")


@pytest.mark.parametrize("kind", ["npz", "tfrecord"])
def test_arrays_and_records_are_scored(plain_model: Path, tmp_path: Path, kind: str) -> None:
    x, z = np.arange(500), np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    if kind == "npz":
        np.savez(tmp_path / "rows.npz", x=x, z=z)
    else:
        with tf.io.TFRecordWriter(str(tmp_path / "rows.tfrecord")) as writer:
            for number, pair in zip(x.tolist(), z.tolist(), strict=True):
                example = tf.train.Example()
                example.features.feature["x"].int64_list.value.append(number)
                example.features.feature["z"].float_list.value.extend(pair)
                writer.write(example.SerializeToString())
    scored = predict_rows(plain_model, tmp_path / f"rows.{kind}", tmp_path / "out", PredictSettings(batch_size=64))
    found = [json.loads(line)["prediction"] for line in scored.file.read_text().splitlines()]
    np.testing.assert_allclose(found, 2 * x + z.sum(axis=1), rtol=1e-6)


def test_an_array_of_another_shape_is_refused(plain_model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.arange(3), z=np.zeros((3, 4)))
    with pytest.raises(InvalidData, match=r"column 'z' has the shape \(4,\) per row where \(2,\) is expected"):
        predict_rows(plain_model, tmp_path / "rows.npz", tmp_path / "out")


def test_rows_that_the_model_itself_refuses_are_named(tmp_path: Path) -> None:
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_less(x, 5.0, message="x is too large")]):
                return {"y": tf.identity(x)}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    (tmp_path / "rows.csv").write_text("x\n" + "\n".join(map(str, range(8))))
    with pytest.raises(
        InvalidData, match=r"rows\.csv, row 5 to 8: the model cannot score these rows: .*x is too large"
    ):
        predict_rows(tmp_path / "model", tmp_path / "rows.csv", tmp_path / "out", PredictSettings(batch_size=4))


def test_the_component_scores_and_records(wine_model: Path, tabular_csv: Path, tmp_path: Path) -> None:
    predictions, report = dsl.Dataset(uri=str(tmp_path / "predictions")), dsl.HTML(uri=str(tmp_path / "report"))
    rows = batch_predict.python_func(
        saved_model=dsl.Model(uri=str(wine_model)),
        predictions=predictions,
        report=report,
        source=str(tabular_csv),
        output_format="csv",
        keep_columns=["hue"],
    )
    assert rows == predictions.metadata["rows"] == 178
    header = (tmp_path / "predictions" / "predictions.csv").read_text().splitlines()[0]
    assert header == "row,hue,prediction,probability,probability_class_0,probability_class_1,probability_class_2"
    assert "Predicted classes" in (tmp_path / "report").read_text()


def test_the_component_takes_every_setting_with_the_same_default() -> None:
    inputs = dict(batch_predict.component_spec.inputs)
    del inputs["saved_model"], inputs["source"]
    defaults = PredictSettings()
    assert set(inputs) == set(PredictSettings.__dataclass_fields__)
    for name, port in inputs.items():
        expected = getattr(defaults, name)
        assert port.default == (list(expected) if isinstance(expected, tuple) else expected), name
