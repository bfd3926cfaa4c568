"""Write a project that serves a trained model as it is: its inputs are matched with the columns of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.errors import InvalidData
from trainwright_components.user_module.given_model import GivenModel, GivenTensor
from trainwright_pipelines.scaffold.images import picture_of
from trainwright_pipelines.scaffold.project import (
    Project,
    data_group,
    quoted,
    render,
    seen_from,
    served_name,
    write_files,
)

_EXCLUDE = "leave columns out with --set 'data.exclude=[\"NAME\"]'"
_SIDE = 224  # of pictures for a model that takes any size
_CHANNELS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Which columns a model is given.

    Args:
        by_input: The column of each input, where each has one.
        stacked: The columns that make its one input, side by side.
        picture: The one column of pictures.
    """

    by_input: tuple[tuple[GivenTensor, str], ...] = ()
    stacked: tuple[str, ...] = ()
    picture: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """All that the model needs."""
        return self.stacked or tuple(column for _, column in self.by_input)


def write_given_project(
    folder: Path,
    given: GivenModel,
    *,
    source: str,
    schema: Schema,
    data: Mapping[str, Any] | None = None,
    no_features: Mapping[str, str] | None = None,
) -> Project:
    """Write a project for the trained model `given` and the rows of `source`, which `schema` describes.

    `no_features` are columns that are no features, with the reason.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
        InvalidData: The columns are not what the model takes, or the label is not what it gives.
    """
    if schema.label is None:
        raise InvalidData(f"{source} has no label column: say which one with --label")
    if schema.label.is_joined:
        raise InvalidData(f"{given.path} can be served for one label; {source} has {', '.join(schema.label.columns)}")
    output = _output(given, schema.label)
    matched = match_columns(given, schema, source=source)
    unused = [each.name for each in schema.features if each.name not in matched.columns]
    copied = "given" if given.is_saved_model else f"given{given.path.suffix.lower()}"
    is_classification = schema.label.kind == "class"
    assumed = _assumptions(given, schema.label, matched)
    values = {
        "model_name": served_name(folder),
        "module": "model",
        "source": seen_from(folder, source),
        "source_name": Path(source).name,
        "label": schema.label.name,
        "predicted": schema.label.columns,
        "label_kind": schema.label.kind,
        "file": given.path.name,
        "given": copied,
        "is_classification": is_classification,
        "class_count": len(schema.label.class_names),
        "classes": schema.label.class_names,
        "width": output.shape[-1] if output.shape else 1,
        "output": output.name,
        "inputs": given.inputs,
        "columns_of": [{"input": each.name, "value": _value(each, name)} for each, name in matched.by_input],
        "dtype": given.inputs[0].dtype,
        "shape": _shape_of_batch(given.inputs[0]),
        "assign": f"return {{{quoted(given.inputs[0].name)}: " if given.takes_mapping else "return ",
        "end": "}" if given.takes_mapping else "",
        "picked": "" if given.takes_mapping else f"[{quoted(given.inputs[0].name)}]",
        "stacked": matched.stacked,
        "picture": matched.picture,
        "is_encoded": bool(matched.picture) and schema.feature(matched.picture).dtype == "string",
        "side": tuple(side or _SIDE for side in given.inputs[0].shape[:2]),
        "channels": given.inputs[0].shape[-1] if given.inputs[0].shape else 1,
        "is_saved_model": given.is_saved_model,
        "takes_mapping": given.takes_mapping,
        "puts_out_probabilities": given.puts_out_probabilities,
        "data": data_group(data or {}, unused),
        "training": {"batch_size": 64},
        "assumed": "\n".join(assumed),
        "no_features": no_features or {},
    }
    contents: dict[str, str | Path] = {
        "model/model.py": render("given_model.py.j2", **values),
        f"model/{copied}": given.path,
        "params.yaml": render("params.yaml.j2", **values),
        "README.md": render("given_README.md.j2", **values),
    }
    return write_files(folder, contents, left_out=tuple(unused), assumed=assumed)


def match_columns(given: GivenModel, schema: Schema, *, source: str) -> Matched:
    """The columns that the inputs of `given` are made of: by name, else side by side, or as pictures.

    Raises:
        InvalidData: They cannot be.
    """
    features = {feature.name: feature for feature in schema.features}
    if all(each.name in features for each in given.inputs):
        pairs = tuple((each, each.name) for each in given.inputs)
        for each, name in pairs:
            _check_pair(each, features[name])
        return Matched(by_input=pairs)
    if len(given.inputs) > 1:
        missing = [str(each) for each in given.inputs if each.name not in features]
        raise InvalidData(
            f"{given.path} takes {', '.join(missing)}, but {source} has no columns of these names; it has "
            f"{_listing(features)}. Rename its columns"
        )
    [taken] = given.inputs
    picture = picture_of(schema)
    if picture is not None and len(taken.shape) in (2, 3):
        return _match_picture(taken, picture)
    if len(taken.shape) == 1 and not (len(features) == 1 and schema.features[0].shape):
        return Matched(stacked=_side_by_side(given, taken, schema, source))
    if len(features) != 1:
        raise InvalidData(
            f"{given.path} takes {taken}, and {source} has the columns {_listing(features)}, which it is not made of; "
            f"{_EXCLUDE} until one is left"
        )
    [feature] = schema.features
    _check_pair(taken, feature)
    return Matched(by_input=((taken, feature.name),))


def _side_by_side(given: GivenModel, taken: GivenTensor, schema: Schema, source: str) -> tuple[str, ...]:
    numbers = [each.name for each in schema.features if each.dtype != "string" and not each.shape]
    [width] = taken.shape
    if width not in (None, len(numbers)) or not numbers or taken.dtype == "string":
        raise InvalidData(
            f"{given.path} takes {taken}, {width} numbers per row, but {source} has {len(numbers)} columns of numbers "
            f"beside the label: {_listing(numbers)}; {_EXCLUDE}, in the order in which the model was trained"
        )
    return tuple(numbers)


def _match_picture(taken: GivenTensor, picture: Feature) -> Matched:
    if picture.dtype != "string":
        _check_pair(taken, picture)
    elif len(taken.shape) != 3 or taken.shape[-1] not in _CHANNELS:
        raise InvalidData(f"the model takes {taken}; for pictures that is (height, width, 1) or (height, width, 3)")
    return Matched(by_input=((taken, picture.name),), picture=picture.name)


def _check_pair(taken: GivenTensor, feature: Feature) -> None:
    if (taken.dtype == "string") != (feature.dtype == "string"):
        raise InvalidData(
            f"the model takes {taken}, but the column {feature.name!r} is {feature.kind}, of {feature.dtype}"
        )
    wanted, has = _without_ones(taken.shape), _without_ones(feature.shape)
    if len(wanted) != len(has) or any(side not in (None, own) for side, own in zip(wanted, has, strict=True)):
        raise InvalidData(f"the model takes {taken}, but a row of {feature.name!r} has the shape {feature.shape}")


def _without_ones(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    return tuple(side for side in shape if side != 1)


def _value(taken: GivenTensor, column: str) -> str:
    """The source text of what the input `taken` is given."""
    value = f"features[{quoted(column)}]"
    if taken.dtype != "string":
        value = f'tf.cast({value}, "{taken.dtype}")'
    return value if None in taken.shape else f"tf.reshape({value}, {_shape_of_batch(taken)})"


def _shape_of_batch(taken: GivenTensor) -> str:
    return repr((-1, *taken.shape))


def _output(given: GivenModel, label: Label) -> GivenTensor:
    found = given.outputs
    if given.is_saved_model and len(found) > 1:
        found = tuple(each for each in found if each.name == label.name)
    if len(found) != 1:
        raise InvalidData(
            f"{given.path} puts out {', '.join(map(str, given.outputs))}; it is not known which one predicts "
            f"{label.name!r}. Save a model with that output alone"
        )
    [output] = found
    width = output.shape[-1] if output.shape else 1
    if label.kind == "class":
        count = len(label.class_names)
        if len(output.shape) > 1 or (width != count and not (width == 1 and count == 2)):
            raise InvalidData(
                f"{given.path} puts out {output}, but the label {label.name!r} has {count} classes: "
                f"{_listing(label.class_names)}. If it is a quantity, add --set data.task=regression"
            )
    elif _without_ones(output.shape) != _without_ones(label.shape):
        raise InvalidData(
            f"{given.path} puts out {output}, but the label {label.name!r} is "
            f"{f'of the shape {label.shape}' if label.shape else 'one number'}. If it names classes, add "
            "--set data.task=classification"
        )
    return output


def _assumptions(given: GivenModel, label: Label, matched: Matched) -> tuple[str, ...]:
    """What the files of a model do not tell."""
    said = []
    if matched.stacked:
        said.append(
            f"Taken for granted: the model takes its numbers in the order {_listing(matched.stacked)} "
            "(COLUMNS in model/model.py)."
        )
    if matched.picture:
        said.append("Taken for granted: the model takes pixels of 0 to 255 (params.pixel_scale).")
    if label.kind == "class":
        kind = "probabilities" if given.puts_out_probabilities else "scores before softmax or sigmoid"
        said.append(
            f"Taken for granted: its outputs are {kind}, for the classes in the order {_listing(label.class_names)} "
            "(CLASSES and FROM_LOGITS in model/model.py)."
        )
    return tuple(said)


def _listing(names: "Sequence[str] | Mapping[str, Any]") -> str:
    shown = [repr(name) for name in list(names)[:20]]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
