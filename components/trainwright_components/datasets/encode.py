"""Rows as they come into rows as they are stored: float32, integers, UTF-8 text, checked image bytes, class indices."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from trainwright_components.datasets.chunks import (
    Chunk,
    Column,
    NotANumber,
    as_numbers,
    as_text,
    is_missing,
    object_column,
)
from trainwright_components.datasets.joined_labels import class_text, encode_joined
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.storage.addresses import join, parent
from trainwright_components.storage.locations import read_bytes

if TYPE_CHECKING:
    from PIL import Image

_BOOLEANS = {"true": "1", "false": "0"}
_TENSORFLOW_DECODES = ("JPEG", "MPO", "PNG", "GIF", "BMP")
LARGEST_SIDE = 2048  # training decodes a batch at once, every epoch


def encode_chunk(chunk: Chunk, schema: Schema, *, with_label: bool = True) -> dict[str, Column]:
    """The columns of `schema`, from the columns of `chunk` with the same names.

    Raises:
        InvalidData: A value does not fit the schema; says file, row and column.
    """
    columns = encode_features(chunk, schema)
    if with_label and schema.label:
        columns[schema.label.name] = _encode_label(chunk, schema.label)
    if with_label and schema.weight:
        columns[schema.weight] = _numbers(chunk, schema.weight).astype(np.float32)
    return columns


def encode_features(chunk: Chunk, schema: Schema) -> dict[str, Column]:
    """The features of `schema` alone."""
    return {feature.name: _encode_feature(chunk, feature) for feature in schema.features}


def _encode_feature(chunk: Chunk, feature: Feature) -> Column:
    if feature.dtype != "string":
        numbers = _numbers(_with_booleans(chunk, feature), feature.name)
        if numbers.shape[1:] != feature.shape:
            raise InvalidData(
                f"{chunk.origin}: column {feature.name!r} has the shape {numbers.shape[1:]} per row where "
                f"{feature.shape} is expected"
            )
        if feature.dtype == "float32":
            return numbers.astype(np.float32, copy=False)
        return _whole(chunk, feature, numbers)
    column = chunk.column(feature.name)
    if feature.kind == "image":
        return _images(chunk, feature.name, column)
    return column if feature.name in chunk.texts else _texts(column)


def _with_booleans(chunk: Chunk, feature: Feature) -> Chunk:
    """`chunk` with numbers in place of true and false where a boolean is written as text."""
    if feature.dtype != "bool" or (column := chunk.column(feature.name)).dtype != object:
        return chunk
    values = [_BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value for value in column.tolist()]
    return chunk.with_columns({feature.name: object_column(values)})


def _numbers(chunk: Chunk, name: str) -> Column:
    if name in chunk.numbers:
        return chunk.numbers[name]
    column = chunk.column(name)
    try:
        return as_numbers(column)
    except NotANumber as error:
        raise InvalidData(
            f"{chunk.place(error.row)}: column {name!r} must be a number, got {str(column[error.row])!r}"
        ) from error


def _whole(chunk: Chunk, feature: Feature, numbers: Column) -> Column:
    column = chunk.column(feature.name)
    exact = column if column.dtype.kind in "biu" else numbers
    if column.dtype == feature.dtype:
        return column
    least, greatest = feature.whole_range
    wrong = np.isnan(numbers) | (numbers != np.floor(numbers)) | (exact < least) | (exact > greatest)
    if wrong.any():
        row = int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())
        value = numbers[row][wrong[row]][0]
        raise InvalidData(
            f"{chunk.place(row)}: column {feature.name!r} must be an integer from {least:,} to {greatest:,}, "
            f"got {value:g}"
        )
    return exact.astype(feature.dtype)


def _texts(column: Column) -> Column:
    return object_column(as_text(column))


def _images(chunk: Chunk, name: str, column: Column) -> Column:
    contents = []
    for row, value in enumerate(column.tolist()):
        try:
            content = read_bytes(join(parent(chunk.origin), value)) if isinstance(value, str) else value
            contents.append(checked_image(content))
        except (InvalidData, InvalidSetting) as error:
            raise InvalidData(f"{_image_place(chunk, row)}: column {name!r}: {error}") from error
    return object_column(contents)


def _image_place(chunk: Chunk, row: int) -> str:
    return join(chunk.origin, str(chunk.columns["path"][row])) if "path" in chunk.columns else chunk.place(row)


def checked_image(content: bytes | None) -> bytes:
    """`content` if TensorFlow can decode it and no side is over `LARGEST_SIDE` pixels, else the same picture as PNG.

    Raises:
        InvalidData: It is not an image, or a damaged one.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise InvalidData("there is no image; remove the row or give one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of what is made smaller here
            with Image.open(io.BytesIO(content)) as image:
                image.load()
        is_small = max(image.size) <= LARGEST_SIDE
        if image.format in _TENSORFLOW_DECODES and image.mode != "CMYK" and is_small:
            return content
        buffer = io.BytesIO()
        picture = Image.fromarray(_in_8_bits(image)) if image.mode.startswith("I;16") else image
        is_transparent = "A" in picture.getbands() or "transparency" in picture.info
        made = picture.convert("RGBA" if is_transparent else "RGB")
        made.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        made.save(buffer, format="PNG")
        return buffer.getvalue()
    except UnidentifiedImageError as error:  # whose own message is the address of a buffer
        raise InvalidData("this is not an image, or its format is not known; replace it or remove the row") from error
    except Exception as error:
        raise InvalidData(f"the image cannot be read ({error}); replace it or remove the row") from error


def _in_8_bits(image: "Image.Image") -> Column:
    """Grey values of 16 bits as TensorFlow reads them of a PNG; Pillow would make all above 255 white."""
    return (np.asarray(image) // 256).astype(np.uint8)


def _encode_label(chunk: Chunk, label: Label) -> Column:
    for name in label.columns if not label.separator else ():
        _refuse(chunk, is_missing(chunk.column(name)).tolist(), f"label {name!r} has no value")
    if label.kind == "multilabel":
        return encode_joined(chunk, label)
    if label.kind == "number":
        parts = [_numbers(chunk, name).astype(np.float32) for name in label.columns]
        return np.stack(parts, axis=1) if label.is_joined else parts[0]
    column = chunk.column(label.name)
    indices = {name: number for number, name in enumerate(label.class_names)}

    def find(text: str) -> int:
        return indices.get(text, indices.get(class_text(text), -1))

    texts = as_text(column)
    known = {text: find(text) for text in set(texts)}
    encoded = np.fromiter(map(known.__getitem__, texts), np.int64, len(column))
    if (encoded < 0).any():
        row = int((encoded < 0).argmax())
        raise InvalidData(
            f"{chunk.place(row)}: label {label.name!r} is {texts[row]!r}, which is not a class"
            f"{did_you_mean(texts[row], label.class_names)}"
        )
    return encoded


def _refuse(chunk: Chunk, rows: list[bool], message: str) -> None:
    if True in rows:
        raise InvalidData(f"{chunk.place(rows.index(True))}: {message}")
