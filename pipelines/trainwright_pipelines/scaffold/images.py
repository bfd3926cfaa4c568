"""Write a project for pictures: their sizes say to which one they are brought."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_pipelines.scaffold.project import Project, data_group, render, seen_from, write_project

BATCH_SIZE = 32
_TRAINING = {"epochs": 60, "early_stopping_patience": 12, "batch_size": BATCH_SIZE}
_SIDES = (8, 16, 24, 32, 48, 64, 96)  # more is slow without a GPU, and the small network gains nothing
_RANKS_OF_PIXELS = (2, 3)


def picture_of(schema: Schema) -> Feature | None:
    """The one feature of `schema` if it is pictures, encoded or as numbers, with one label; None for a table."""
    if len(schema.features) != 1 or schema.label is None or schema.label.is_joined:
        return None
    [feature] = schema.features
    is_picture = feature.kind == "image" if feature.dtype == "string" else len(feature.shape) in _RANKS_OF_PIXELS
    return feature if is_picture else None


def write_image_project(
    folder: Path,
    *,
    source: str,
    schema: Schema,
    picture: Feature,
    side: float,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    no_features: Mapping[str, str] | None = None,
) -> Project:
    """Write a project for the pictures of `source`, which are in the feature `picture` of `schema`.

    `no_features` are columns that are no features, with the reason.

    They become squares like the median picture, whose shorter side is `side`, within what is quick to train.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
    """
    label = schema.label
    assert label is not None  # without one, `picture_of` is not asked
    values = {
        "source": seen_from(folder, source),
        "source_name": Path(source).name,
        "label": label.name,
        "predicted": label.columns,
        "label_kind": label.kind,
        "has_targets": False,
        "is_classification": label.kind == "class",
        "class_count": len(label.class_names),
        "image": picture.name,
        "is_encoded": picture.dtype == "string",
        "size": next((each for each in _SIDES if each >= side), _SIDES[-1]),
        "columns": schema.features,
        "left_out": (),
        "no_features": no_features or {},
        "example": "filters=32",
        "training": {**_TRAINING, **_monitor(label), **(training or {})},
        "data": data_group(data or {}, ()),
    }
    return write_project(folder, render("image_model.py.j2", **values), values)


def _monitor(label: Label) -> dict[str, str]:
    """Of few pictures the loss grows again, with too sure answers, long before the accuracy ends to."""
    return {"monitor": "val_accuracy"} if label.kind == "class" else {}
