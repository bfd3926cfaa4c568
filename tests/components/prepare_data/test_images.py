"""Folders and tables of images become encoded bytes that TensorFlow decodes to the same pixels."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from trainwright_components.datasets.encode import checked_image
from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Feature
from trainwright_components.errors import InvalidData
from trainwright_components.prepare_data.prepare import PreparedData

Prepare = Callable[..., PreparedData]
SUFFIXES = ("png", "bmp", "webp", "tiff")


def paint(path: Path, number: int, mode: str = "RGB") -> np.ndarray:
    pixels = np.random.default_rng(number).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path, **dict[str, Any]({"lossless": True} if path.suffix == ".webp" else {}))
    return np.asarray(image.convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, dict[str, list[bytes]]]:
    """30 images of each of two classes, in four formats; and their pixels."""
    root = tmp_path / "images"
    pixels = {
        name: [
            paint(root / name / f"{number}.{SUFFIXES[number % 4]}", number + 100 * offset).tobytes()
            for number in range(30)
        ]
        for offset, name in enumerate(("cat", "dog"))
    }
    (root / ".hidden").mkdir()
    (root / "cat" / "notes.txt").write_text("no image")
    return root, pixels


def decoded(prepared: PreparedData) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for split in prepared.statistics.splits:
        for features, label in read_split(prepared.dataset, split):
            name = prepared.schema.class_names[int(label)]
            image = next(iter(features.values()))
            found.setdefault(name, []).append(tf.io.decode_image(image, channels=3).numpy().tobytes())
    return {name: sorted(images) for name, images in found.items()}


def test_a_folder_per_class_keeps_every_pixel(folder: tuple[Path, dict[str, list[bytes]]], prepare: Prepare) -> None:
    root, pixels = folder
    prepared = prepare(root)
    assert prepared.schema.features == (Feature(name="image", kind="image", dtype="string"),)
    assert decoded(prepared) == {name: sorted(images) for name, images in pixels.items()}
    assert "<svg" in prepared.draw_report().html()


def test_copies_of_an_image_are_on_one_side(tmp_path: Path, prepare: Prepare) -> None:
    for number in range(60):
        for copy in range(2):
            paint(tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}-{copy}.png", number)
    prepared = prepare(tmp_path / "images")
    sides = [
        {features["image"].numpy() for features, _ in read_split(prepared.dataset, split)}
        for split in prepared.statistics.splits
    ]
    assert sum(map(len, sides)) == 60


def test_folders_called_train_and_test_are_the_splits(tmp_path: Path, prepare: Prepare) -> None:
    for split, count in (("train", 20), ("val", 4), ("test", 6)):
        for name in ("cat", "dog"):
            for number in range(count):
                paint(tmp_path / "images" / split / name / f"{number}.png", hash((split, number)) % 1_000)
    rows = {name: split.rows for name, split in prepare(tmp_path / "images").statistics.splits.items()}
    assert rows == {"train": 40, "validation": 8, "test": 12}


def test_a_table_with_image_paths_reads_them_beside_it(tmp_path: Path, prepare: Prepare) -> None:
    expected: dict[str, list[bytes]] = {}
    rows = []
    for number in range(40):
        name = ("x", "y")[number % 2]
        expected.setdefault(name, []).append(paint(tmp_path / "photos" / f"{number}.png", number).tobytes())
        rows.append({"photo": f"photos/{number}.png", "age": number % 20, "kind": name})
    prepared = prepare(pd.DataFrame(rows), label="kind")
    kinds = {feature.name: (feature.kind, feature.dtype) for feature in prepared.schema.features}
    assert kinds == {"photo": ("image", "string"), "age": ("numeric", "float32")}
    assert decoded(prepared) == {name: sorted(images) for name, images in expected.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"not an image",
            r"images/dog/7\.png: column 'image': this is not an image, or its format is not known; replace",
        ),
        (None, r"images/dog/7\.png: column 'image': the image cannot be read \(.*truncated"),
        (b"", r"images/dog/7\.png: column 'image': there is no image"),
    ],
)
def test_an_unreadable_image_is_named(
    folder: tuple[Path, dict[str, list[bytes]]], prepare: Prepare, content: bytes | None, message: str
) -> None:
    path = folder[0] / "dog" / "7.png"
    paint(path, 1)
    path.write_bytes(path.read_bytes()[:-60] if content is None else content)
    with pytest.raises(InvalidData, match=message):
        prepare(folder[0])


def test_a_missing_image_of_a_table_is_named_with_its_row(tmp_path: Path, prepare: Prepare) -> None:
    for number in range(10):
        paint(tmp_path / f"{number}.png", number)
    rows = pd.DataFrame({"photo": [f"{number}.png" for number in range(11)], "y": ["a", "b"] * 5 + ["a"]})
    with pytest.raises(InvalidData, match=r"rows\.csv, row 11: column 'photo': there is no file '.*10\.png'"):
        prepare(rows, label="y")


def test_a_folder_without_images_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "images" / "cat").mkdir(parents=True)
    with pytest.raises(InvalidData, match=r"holds no image \(\.jpg, .*\), nor do the folders in it"):
        prepare(tmp_path / "images")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("LA", "webp"), ("P", "tiff")])
def test_pictures_that_tensorflow_cannot_decode_become_png(tmp_path: Path, mode: str, suffix: str) -> None:
    buffer = io.BytesIO()
    image = Image.new("L", (4, 3), 77).convert(mode if mode != "LA" else "RGBA")
    image.save(
        buffer,
        format={"jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF"}[suffix],
        **({"lossless": True} if suffix == "webp" else {}),
    )
    pixels = tf.io.decode_image(checked_image(buffer.getvalue()), channels=3).numpy()
    assert pixels.shape == (3, 4, 3)
    np.testing.assert_allclose(pixels, 77, atol=2)


def test_a_jpeg_is_stored_as_it_is(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg", 1)
    content = (tmp_path / "a.jpg").read_bytes()
    assert checked_image(content) is content
