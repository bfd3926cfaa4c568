"""The project for pictures: it reads files as Pillow does, and leaves given weights alone while they are frozen."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from trainwright_components.datasets.describe import describe_table
from trainwright_components.datasets.encode import LARGEST_SIDE, checked_image
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.pictures import median_side
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, UserCodeError
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.module_check import check_module
from trainwright_components.training.run import run_training
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.module import Context, ModelModule, load_module, resolve_params
from trainwright_pipelines.scaffold.images import picture_of, write_image_project

SIDE = 16
TINY = """
def BACKBONE(include_top, weights, input_shape, pooling):
    inputs = keras.Input(input_shape)
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="seen")(inputs))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(hidden))
    model.load_weights(weights)
    return model
"""


def picture(mode: str = "RGB", *, dark: bool = False, size: int = SIDE, seed: int = 0) -> Image.Image:
    """Noise, below half of the light if it is dark."""
    noise = np.random.default_rng(seed).integers(0, 128, (size, size, 4), np.uint8) + (0 if dark else 127)
    return Image.fromarray(noise.astype(np.uint8), "RGBA").convert(mode)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and light pictures, some in a folder within; what systems leave beside; no image in a third folder."""
    place = tmp_path_factory.mktemp("pictures")
    for number in range(16):
        for name in ("dark", "light"):
            file = place / name / ("deeper" if number % 2 else "") / f"{number}.{'PNG' if number % 3 else 'png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(dark=name == "dark", seed=number).save(file)
    (place / "dark" / ".DS_Store").write_bytes(b"\0\1")
    (place / "dark" / "Thumbs.db").write_bytes(b"\0\1")
    (place / "none").mkdir()
    return place


@pytest.fixture(scope="module")
def project(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(folder, tmp_path_factory.mktemp("project") / "p")


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dataset")
    prepare_data(folder, place, PrepareSettings())
    return place


def write(source: Path, target: Path) -> Path:
    schema = describe_table(source, Roles()).schema
    feature = picture_of(schema)
    assert feature is not None
    side = median_side(open_source(str(source)), feature)
    write_image_project(target, source=str(source), schema=schema, picture=feature, side=side)
    return target


def opened(module: Path, dataset: Path, **params: Any) -> tuple[ModelModule, Context]:
    loaded = load_module(module)
    return loaded, Context(
        params=resolve_params(loaded, params),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def on_white(image: Image.Image) -> NDArray[np.float32]:
    """As Pillow shows it on a white page."""
    page = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(page, image.convert("RGBA")).convert("RGB"), np.float32)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("RGB", "BMP"),
        ("L", "GIF"),
        ("RGB", "TIFF"),
        ("RGBA", "WEBP"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
        ("RGB", "JPEG"),
    ],
)
def test_pictures_of_any_kind_become_what_pillow_shows(project: Path, dataset: Path, mode: str, form: str) -> None:
    content = encoded(picture(mode), form)
    module, context = opened(project / "model.py", dataset)
    [made] = module.preprocess({"image": np.array([checked_image(content)], object)}, context)["image"].numpy()
    tolerance = 6 if form == "JPEG" else 1.01  # decoders of JPEG differ, and composed values are rounded or not
    np.testing.assert_allclose(made, on_white(Image.open(io.BytesIO(content))), atol=tolerance)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_upper_8(project: Path, dataset: Path, form: str) -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (SIDE, SIDE), np.uint16)
    module, context = opened(project / "model.py", dataset)
    content = checked_image(encoded(Image.fromarray(grey), form))
    [made] = module.preprocess({"image": np.array([content], object)}, context)["image"].numpy()
    np.testing.assert_allclose(made[..., 1], grey // 256, atol=1)


def test_a_huge_picture_is_made_smaller_and_a_damaged_one_refused() -> None:
    huge = Image.new("LA", (3 * LARGEST_SIDE, LARGEST_SIDE), (40, 255))
    with Image.open(io.BytesIO(checked_image(encoded(huge, "PNG")))) as smaller:
        assert smaller.size == (LARGEST_SIDE, round(LARGEST_SIDE / 3))
    with pytest.raises(InvalidData, match="cannot be read"):
        checked_image(encoded(picture(), "PNG")[:-60])


def test_folders_within_and_capitals_count_and_what_is_no_image_does_not(
    dataset: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    statistics = Statistics.load(dataset)
    assert sum(split.rows for split in statistics.splits.values()) == 32
    assert describe_table(folder, Roles()).schema.class_names == ("dark", "light")
    assert f"{folder / 'none'} holds no image" in caplog.text


def test_the_size_is_that_of_the_median_picture(tmp_path: Path, project: Path) -> None:
    for name, size in (("a/1", 12), ("a/2", 40), ("b/1", 33), ("b/2", 500)):
        file = tmp_path / "in" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(size=size).save(file)
    params = [
        load_module(each / "model.py").default_params["size"]
        for each in (write(tmp_path / "in", tmp_path / "p"), project)
    ]
    assert params == [48, SIDE]


def test_the_network_is_random_in_training_alone(project: Path, dataset: Path) -> None:
    module, context = opened(project / "model.py", dataset, augmentation=0.2, mirror=True)
    model = check_module(module, context)
    assert model is not None
    rows = module.preprocess({"image": np.array([encoded(picture(), "PNG")] * 2, object)}, context)
    np.testing.assert_array_equal(model(rows, training=False), model(rows, training=False))
    assert not np.allclose(model(rows, training=True), model(rows, training=True))


@pytest.fixture
def backbone(project: Path, tmp_path: Path) -> keras.Model:
    """Beside it in `tmp_path`, the project with a tiny network for the backbone, and a file of weights."""
    text = (project / "model.py").read_text()
    (tmp_path / "model.py").write_text(text.replace("\nDEFAULT_PARAMS", f"{TINY}\nDEFAULT_PARAMS"))
    inputs = keras.Input((SIDE, SIDE, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="seen")(inputs))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(hidden))
    model.save_weights(tmp_path / "given.weights.h5")
    return model


def kernel_of(model: keras.Model) -> Any:
    (inner,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    return inner.get_layer("seen").kernel


def test_the_gate_lets_gradients_through_once_it_is_open(backbone: keras.Model, dataset: Path, tmp_path: Path) -> None:
    module, context = opened(tmp_path / "model.py", dataset, weights="given.weights.h5", augmentation=0.0, dropout=0.0)
    model = module.build_model(context)
    np.testing.assert_array_equal(kernel_of(model), backbone.get_layer("seen").kernel)
    [callback] = module.callbacks(context) if module.callbacks else []
    callback.set_model(model)
    sizes = []
    for epoch in (4, 5):
        callback.on_epoch_begin(epoch)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model({"image": tf.random.uniform((2, SIDE, SIDE, 3), seed=1)}, training=True)[:, 0])
        sizes.append(float(tf.norm(tape.gradient(loss, kernel_of(model).value))))
    assert sizes[0] == 0 < sizes[1]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05 * 0.001)


@pytest.mark.slow
def test_weights_stay_until_they_are_fine_tuned(backbone: keras.Model, dataset: Path, tmp_path: Path) -> None:
    params = {"weights": "given.weights.h5", "frozen_epochs": 1, "augmentation": 0.0}

    def trained(epochs: int, output: str) -> Any:
        settings = {"epochs": epochs, "batch_size": 8}
        train_model(dataset, tmp_path / "model.py", tmp_path / output, params=params, training=settings)
        return kernel_of(TrainedModel.load(tmp_path / output).model)

    given = backbone.get_layer("seen").kernel
    np.testing.assert_array_equal(trained(1, "frozen"), given)
    assert not np.array_equal(trained(2, "tuned"), given)


@pytest.mark.slow
def test_fine_tuning_goes_on_after_an_interruption_as_if_there_was_none(
    backbone: keras.Model, dataset: Path, tmp_path: Path
) -> None:
    """The gate and the learning rate are those of the epoch that it goes on in."""
    module = load_module(tmp_path / "model.py")
    params = {"weights": "given.weights.h5", "frozen_epochs": 1}
    settings = TrainingSettings(epochs=3, batch_size=8, deterministic=True, early_stopping_patience=9)
    run_training(module, dataset, tmp_path / "whole", params=params, settings=settings)

    def interrupt(epochs: int, _metrics: Mapping[str, float]) -> bool:
        if epochs == 2:
            raise KeyboardInterrupt
        return False

    settings = replace(settings, checkpoint_every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        run_training(module, dataset, tmp_path / "cut", params=params, settings=settings, on_epoch_end=interrupt)
    run_training(module, dataset, tmp_path / "cut", params=params, settings=settings)
    whole, cut = (TrainedModel.load(tmp_path / name).model.get_weights() for name in ("whole", "cut"))
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one, other)


NOT_DOWNLOADED = r"imagenet cannot be loaded: they are downloaded \(.*\)\. .* say params\.weights=backbone\.weights\.h5"


def test_weights_that_are_not_there_to_download_can_come_from_a_file(
    backbone: keras.Model,
    dataset: Path,
    tmp_path: Path,
) -> None:
    module, context = opened(tmp_path / "model.py", dataset, weights="imagenet")
    with pytest.raises(UserCodeError, match=NOT_DOWNLOADED):
        module.build_model(context)


@pytest.mark.slow
def test_without_a_network_no_weights_are_downloaded(
    project: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # nothing was downloaded before
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    module, context = opened(project / "model.py", dataset, weights="imagenet", size=224)
    with pytest.raises(UserCodeError, match=r"URL fetch failure on https://.*say params.weights=backbone"):
        module.build_model(context)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere.h5", "there is no file"),
        pytest.param("model.py", "has to be of MobileNetV3Small", marks=pytest.mark.slow),
    ],
)
def test_weights_that_cannot_be_loaded_are_refused(project: Path, dataset: Path, weights: str, message: str) -> None:
    module, context = opened(project / "model.py", dataset, weights=weights, size=32)
    with pytest.raises(UserCodeError, match=message):
        module.build_model(context)


@pytest.mark.slow
def test_a_file_of_a_published_network_is_fine_tuned(project: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text((project / "model.py").read_text())
    given = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    given.save_weights(tmp_path / "given.weights.h5")
    module, context = opened(tmp_path / "model.py", dataset, weights="given.weights.h5", size=32)
    model = check_module(module, context)
    assert model is not None
    (inner,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    for own, other in zip(inner.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
