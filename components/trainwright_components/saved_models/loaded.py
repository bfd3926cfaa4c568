"""A SavedModel as a function from columns to answers. What it takes is in its schema, else in its signature."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.schema import DTYPES, SCHEMA_FILE, Feature, Schema, suggest
from trainwright_components.errors import InvalidSetting
from trainwright_components.quiet import quiet_loggers
from trainwright_components.saved_models.graph_names import call_signature, input_specs

ASSETS = "assets.extra"


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One signature of a loaded SavedModel.

    Args:
        schema: What the model takes: the features, and the label whose class names the answers use.
    """

    schema: Schema
    _loaded: Any  # TensorFlow deletes the variables of an object that nobody holds
    _function: Any

    @classmethod
    def load(cls, folder: Path, *, signature: str) -> Self:
        """The signature called `signature` of the SavedModel in `folder`.

        Raises:
            InvalidSetting: There is no SavedModel, or it has no such signature.
        """
        import tensorflow as tf

        if not (folder / "saved_model.pb").is_file():
            raise InvalidSetting(f"{folder} holds no SavedModel; give the folder with saved_model.pb")
        try:
            with quiet_loggers():
                loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InvalidSetting(f"the SavedModel in {folder} cannot be loaded: {error}") from error
        if signature not in loaded.signatures:
            hint = suggest(signature, tuple(loaded.signatures))
            raise InvalidSetting(f"the SavedModel in {folder} has no signature {signature!r}{hint}")
        function = loaded.signatures[signature]
        schema_file = folder / ASSETS / SCHEMA_FILE
        label_schema = Schema.from_json(schema_file.read_text(encoding="utf-8")) if schema_file.is_file() else None
        schema = _schema_for(function, label_schema)
        return cls(schema=schema, _loaded=loaded, _function=function)

    def answer(self, columns: dict[str, Column]) -> dict[str, Column]:
        """What the model says about rows; every output as `(rows, ...)`."""
        import tensorflow as tf

        specs = input_specs(self._function)
        tensors = {name: tf.cast(tf.constant(columns[name]), spec.dtype) for name, spec in specs.items()}
        return {name: tensor.numpy() for name, tensor in call_signature(self._function, tensors).items()}


def _schema_for(function: Any, written: Schema | None) -> Schema:
    inputs = input_specs(function)
    if written and set(written.feature_names) == set(inputs):
        return written
    features = tuple(_feature_of(name, spec) for name, spec in inputs.items())
    return Schema(features=features, label=written.label if written else None)


def _feature_of(name: str, spec: Any) -> Feature:
    shape = tuple(int(size or 0) for size in spec.shape[1:]) if spec.shape.rank else ()
    if spec.dtype.name == "string":
        return Feature(name=name, kind="text", dtype="string", shape=shape)
    dtype = "int64" if spec.dtype.is_integer else "float32"
    return Feature(
        name=name, kind="numeric", dtype=spec.dtype.name if spec.dtype.name in DTYPES else dtype, shape=shape
    )
