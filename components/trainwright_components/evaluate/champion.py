"""The model that is served now: find its SavedModel, and score it on the rows that the new one is scored on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.schema import SCHEMA_FILE, Schema
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.errors import InvalidData, InvalidSetting, TargetUnavailable, first_line
from trainwright_components.evaluate.blessing import NotComparable
from trainwright_components.saved_models.history import HISTORY_NAME, last_published
from trainwright_components.saved_models.layout import written_schema
from trainwright_components.saved_models.loaded import LoadedModel, LoadedSignature, LoadingFailed
from trainwright_components.saved_models.outputs import CLASSES, PREDICTIONS, PROBABILITIES
from trainwright_components.saved_models.signatures import SERVING_DEFAULT
from trainwright_components.saved_models.versions import newest_filled
from trainwright_components.storage.addresses import base_name, join, scheme_of
from trainwright_components.storage.locations import find, list_entries, read_bytes

if TYPE_CHECKING:
    import tensorflow as tf

_LISTED = 5

logger = logging.getLogger(__name__)


class Unreadable(Exception):
    """Why a champion that is known of cannot be read; never leaves this component."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version of a deployment folder; `location` is empty where only the folder's history knows of it."""

    version: str
    location: str


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A served SavedModel."""

    version: str
    signature: LoadedSignature
    value_names: tuple[str, ...]
    schema: Schema

    @classmethod
    def load(cls, location: str, schema: Schema) -> Self:
        """Load the SavedModel at `location` and check that it takes the features of `schema`.

        Raises:
            Unreadable: It cannot be loaded.
            NotComparable: It asks for something else.
        """
        try:
            signature = LoadedModel.load(location).signatures.get(SERVING_DEFAULT)
        except LoadingFailed as error:
            raise Unreadable(f"it cannot be loaded: {error}") from error
        if signature is None:
            raise NotComparable(f"it has no signature {SERVING_DEFAULT}")
        own = _own_schema(location)
        _check_same_question(own, schema)
        _check_inputs(signature, schema)
        return cls(
            version=base_name(location),
            signature=signature,
            value_names=own.value_names if own else (),
            schema=schema,
        )

    def answer(self, features: "Mapping[str, tf.Tensor]") -> NDArray[np.float32]:
        """Probabilities in the order of the schema's classes or labels, or numbers, for a batch of raw features.

        Raises:
            NotComparable: It fails on these rows, or its answer has another shape.
        """
        import tensorflow as tf

        try:
            outputs = self.signature.call(features)
        except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
            raise NotComparable(f"it fails on these rows: {first_line(error)}") from error
        task = task_of(self.schema)
        name = PREDICTIONS if task is Task.REGRESSION else PROBABILITIES
        answer: NDArray[np.float32] = _pick(outputs, name).numpy().astype(np.float32)
        if not np.isfinite(answer).all():
            raise NotComparable("it puts out NaN or infinity on these rows")
        if task is Task.CLASSIFICATION:
            return self._probabilities(answer)
        return self._in_order(answer, of_labels=task is Task.MULTILABEL)

    def _in_order(self, answer: NDArray[np.float32], *, of_labels: bool) -> NDArray[np.float32]:
        wanted = self.schema.value_names
        names = self.value_names or wanted
        if wanted and answer.shape[1:] != (len(names),):
            raise NotComparable(f"it answers with the shape {answer.shape[1:]}, not with {len(names)} numbers")
        if of_labels and (answer.min(initial=0) < -1e-3 or answer.max(initial=0) > 1.001):
            answer = np.asarray(1 / (1 + np.exp(-answer)), np.float32)
        return answer if names == wanted else answer[:, [names.index(name) for name in wanted]]

    def _probabilities(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        wanted = self.schema.class_names
        names = self.value_names or wanted
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


def find_champion(base_path: str) -> Served | None:
    """The highest version under `base_path`; None where the folder knows of none.

    A folder with nothing in it is a version that is not there yet, unless there is no other.

    Raises:
        InvalidData: The folder cannot be listed, or its history not be read.
    """
    if not base_path:
        return None
    try:
        there = find(base_path)
        if there is None:
            above = [] if scheme_of(base_path) else [*Path(base_path).parents]
            if files := [each for each in above if each.is_file()]:
                raise InvalidData(f"serving.base_path {base_path} cannot be read: {files[0]} is a file")
            return None
        if not there.is_folder:
            raise InvalidData(f"serving.base_path {base_path} is a file; give the folder of the model's versions")
        entries = list_entries(base_path)
        numbers = [entry for entry in entries if entry.name.isascii() and entry.name.isdigit()]
        folders = [entry.name for entry in numbers if entry.is_folder or _leads_nowhere(join(base_path, entry.name))]
        versions = sorted(folders, key=int)
        has_history = any(entry.name == HISTORY_NAME for entry in entries)
        history = read_bytes(join(base_path, HISTORY_NAME)).decode() if not versions and has_history else "[]"
        published = last_published(history)
    except (InvalidSetting, TargetUnavailable, ValueError) as error:
        raise _unlisted(base_path, error) from error
    version = newest_filled(versions, lambda name: _is_empty(join(base_path, name)))
    if version is None:
        return None if published is None else Served(version=str(published), location="")
    if version != versions[-1]:
        logger.warning("version %s in %s is empty; the champion is version %s", versions[-1], base_path, version)
    return Served(version=version, location=join(base_path, version))


def _unlisted(base_path: str, error: Exception) -> InvalidData:
    return InvalidData(
        f"serving.base_path {base_path} cannot be read, so it is not known which version is served: "
        f"{first_line(error)}; make it readable, or give another model_name or base path"
    )


def _leads_nowhere(location: str) -> bool:
    """Whether this is a link to what is not there, such as a folder on a disk that is not mounted."""
    try:
        find(location)
    except InvalidSetting:
        return True
    return False


def _is_empty(folder: str) -> bool:
    """Whether a folder has nothing in it; one that cannot be listed may have."""
    try:
        return not list_entries(folder)
    except InvalidSetting:
        return False


def _own_schema(location: str) -> Schema | None:
    try:
        return written_schema(location)
    except (InvalidData, InvalidSetting, ValueError) as error:
        raise Unreadable(f"its {SCHEMA_FILE} cannot be read: {first_line(error)}") from error


def _check_same_question(own: Schema | None, schema: Schema) -> None:
    if own is None or own.label is None or schema.label is None:
        return
    if own.label.kind != schema.label.kind:
        raise NotComparable(f"it predicts a {own.label.kind}, this dataset's label is a {schema.label.kind}")
    if missing := sorted(set(schema.label.value_names) - set(own.label.value_names)):
        raise NotComparable(f"it does not predict {', '.join(map(repr, missing[:_LISTED]))}")
    if schema.class_names and not set(own.class_names) & set(schema.class_names):
        raise NotComparable("it knows none of this dataset's classes")


def _check_inputs(signature: LoadedSignature, schema: Schema) -> None:
    for name, spec in signature.inputs.items():
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
