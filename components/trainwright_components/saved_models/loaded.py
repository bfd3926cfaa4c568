"""A SavedModel in memory: each of its signatures as a function from columns to answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.schema import DTYPES, Feature, Schema
from trainwright_components.errors import first_line
from trainwright_components.quiet import quiet_loggers
from trainwright_components.saved_models.graph_names import call_signature, input_specs
from trainwright_components.storage.locations import local_copy

if TYPE_CHECKING:
    import tensorflow as tf


class LoadingFailed(Exception):
    """Why TensorFlow cannot load a SavedModel, in one line; callers say which one, and what to do."""


@dataclass(frozen=True, kw_only=True)
class LoadedSignature:
    """One signature. Its inputs go under the names that clients use.

    Args:
        owner: The loaded object, whose variables TensorFlow deletes when nobody holds it.
    """

    owner: Any = field(repr=False)
    function: Any = field(repr=False)

    @property
    def inputs(self) -> "Mapping[str, tf.TensorSpec]":
        """What it takes by name, sorted."""
        return input_specs(self.function)

    @property
    def outputs(self) -> "Mapping[str, tf.TensorSpec]":
        """What it answers with, by name."""
        outputs: Mapping[str, tf.TensorSpec] = self.function.structured_outputs
        return outputs

    def call(self, tensors: "Mapping[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """The answers to a batch, whose numbers become the types that the signature takes.

        Raises:
            KeyError: An input is missing.
        """
        import tensorflow as tf

        return call_signature(
            self.function, {name: tf.cast(tensors[name], spec.dtype) for name, spec in self.inputs.items()}
        )

    def answer(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        """As `call`, from and to arrays; every output is `(rows, ...)`."""
        import tensorflow as tf

        outputs = self.call({name: tf.constant(columns[name]) for name in self.inputs})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def schema(self, written: Schema | None) -> Schema:
        """What it takes: the schema `written` at export if that has its inputs, else what its specs tell.

        The label is of `written`, whose class names the answers use.
        """
        if written and set(written.feature_names) == set(self.inputs):
            return written
        features = tuple(_feature_of(name, spec) for name, spec in self.inputs.items())
        return Schema(
            features=features,
            label=written.label if written else None,
            reading=written.reading if written else {},
            history=written.history if written else None,
        )


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A SavedModel by its signatures."""

    signatures: Mapping[str, LoadedSignature]

    @classmethod
    def load(cls, location: str | Path) -> Self:
        """Load the SavedModel in a folder, wherever that is stored.

        Raises:
            LoadingFailed: There is none, or it is damaged.
        """
        import tensorflow as tf

        try:
            with local_copy(str(location)) as folder, quiet_loggers():
                owner = tf.saved_model.load(str(folder))
        except Exception as error:  # a damaged file makes TensorFlow raise almost anything
            raise LoadingFailed(first_line(error)) from error
        return cls(
            signatures={
                name: LoadedSignature(owner=owner, function=function) for name, function in owner.signatures.items()
            }
        )


def _feature_of(name: str, spec: Any) -> Feature:
    shape = tuple(int(size or 0) for size in spec.shape[1:]) if spec.shape.rank else ()
    if spec.dtype.name == "string":
        return Feature(name=name, kind="text", dtype="string", shape=shape)
    dtype = "int64" if spec.dtype.is_integer else "float32"
    return Feature(
        name=name, kind="numeric", dtype=spec.dtype.name if spec.dtype.name in DTYPES else dtype, shape=shape
    )
