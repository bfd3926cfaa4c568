"""The model that is served now: find its SavedModel, and score it on the rows that the new one is scored on."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.schema import SCHEMA_FILE, Schema
from trainwright_components.errors import InvalidData
from trainwright_components.evaluate.blessing import NotComparable
from trainwright_components.graph_names import call_signature, input_specs
from trainwright_components.model_outputs import CLASSES, PREDICTIONS, PROBABILITIES, Task, task_of
from trainwright_components.quiet import quiet_loggers

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

SIGNATURE = "serving_default"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A served SavedModel."""

    version: str
    location: str
    saved_model: Any = field(repr=False)  # the signatures die with it
    signature: Any = field(repr=False)
    class_names: tuple[str, ...]
    schema: Schema

    @classmethod
    def load(cls, location: str, schema: Schema) -> Self:
        """Load the SavedModel at `location` and check that it takes the features of `schema`.

        Raises:
            NotComparable: It cannot be loaded, or it asks for something else.
        """
        import tensorflow as tf

        version = location.rstrip("/").rsplit("/", 1)[-1]
        try:
            with quiet_loggers():
                saved_model = tf.saved_model.load(location)
        except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
            raise NotComparable(f"it cannot be loaded: {_first_line(error)}") from error
        signature = saved_model.signatures.get(SIGNATURE)
        if signature is None:
            raise NotComparable(f"it has no signature {SIGNATURE}")
        own = _own_schema(location)
        _check_same_question(own, schema)
        _check_inputs(signature, schema)
        return cls(
            version=version,
            location=location,
            saved_model=saved_model,
            signature=signature,
            class_names=own.class_names if own else (),
            schema=schema,
        )

    def answer(self, features: "Mapping[str, tf.Tensor]") -> NDArray[np.float32]:
        """Probabilities in the order of the schema's classes, or numbers, for a batch of raw features.

        Raises:
            NotComparable: It fails on these rows, or its answer has another shape.
        """
        import tensorflow as tf

        specs = input_specs(self.signature)
        try:
            outputs = call_signature(
                self.signature, {name: tf.cast(features[name], spec.dtype) for name, spec in specs.items()}
            )
        except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
            raise NotComparable(f"it fails on these rows: {_first_line(error)}") from error
        is_classifier = task_of(self.schema) is Task.CLASSIFICATION
        answer: NDArray[np.float32] = (
            _pick(outputs, PROBABILITIES if is_classifier else PREDICTIONS).numpy().astype(np.float32)
        )
        if not np.isfinite(answer).all():
            raise NotComparable("it puts out NaN or infinity on these rows")
        return self._probabilities(answer) if is_classifier else answer

    def _probabilities(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        wanted = self.schema.class_names
        names = self.class_names or wanted
        if len(wanted) == 2 and answer.size == len(answer):
            answer = np.stack([1 - answer.ravel(), answer.ravel()], axis=1)
        if answer.ndim != 2 or answer.shape[1] != len(names):
            raise NotComparable(f"it answers with the shape {answer.shape[1:]}, not with {len(names)} probabilities")
        if answer.min(initial=0) < -1e-3 or answer.max(initial=0) > 1.001:
            exponents = np.exp(answer - answer.max(axis=1, keepdims=True))
            answer = exponents / exponents.sum(axis=1, keepdims=True)
        if names == wanted:
            return answer
        columns = {name: answer[:, index] for index, name in enumerate(names)}
        unknown = np.zeros(len(answer), np.float32)
        return np.stack([columns.get(name, unknown) for name in wanted], axis=1)


def find_champion(base_path: str) -> str | None:
    """The location of the highest version under `base_path` that holds a SavedModel; None when nothing is served."""
    import tensorflow as tf

    if not base_path or not tf.io.gfile.isdir(base_path):
        return None
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
    for name in sorted((name for name in names if name.isdigit()), key=int, reverse=True):
        location = f"{base_path.rstrip('/')}/{name}"
        if tf.io.gfile.exists(f"{location}/saved_model.pb"):
            return location
    return None


def _own_schema(location: str) -> Schema | None:
    import tensorflow as tf

    path = f"{location}/assets.extra/{SCHEMA_FILE}"
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            return Schema.from_json(file.read())
    except (InvalidData, json.JSONDecodeError):
        logger.warning("%s is not readable; the champion's classes are taken to be those of the dataset", path)
        return None


def _check_same_question(own: Schema | None, schema: Schema) -> None:
    if own is None or own.label is None or schema.label is None:
        return
    if own.label.kind != schema.label.kind:
        raise NotComparable(f"it predicts a {own.label.kind}, this dataset's label is a {schema.label.kind}")
    if schema.class_names and not set(own.class_names) & set(schema.class_names):
        raise NotComparable("it knows none of this dataset's classes")


def _check_inputs(signature: Any, schema: Schema) -> None:
    for name, spec in input_specs(signature).items():
        if name not in schema.feature_names:
            raise NotComparable(f"it takes {name!r}, which this dataset does not have")
        feature = schema.feature(name)
        if (spec.dtype.name == "string") != (feature.dtype == "string"):
            raise NotComparable(f"it takes {name!r} as {spec.dtype.name}, this dataset has it as {feature.dtype}")
        if not spec.shape.is_compatible_with((None, *feature.shape)):
            raise NotComparable(
                f"it takes {name!r} with the shape {tuple(spec.shape[1:])}, this dataset has {feature.shape}"
            )


def _pick(outputs: Mapping[str, Any], name: str) -> Any:
    if name in outputs:
        return outputs[name]
    numbers = {key: value for key, value in outputs.items() if key != CLASSES and value.dtype.is_floating}
    if len(numbers) != 1:
        raise NotComparable(f"its outputs are {', '.join(sorted(outputs))}, and none of them is called {name!r}")
    return next(iter(numbers.values()))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
