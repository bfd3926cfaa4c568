"""Rows of the dataset as requests: golden ones with the answers of the Keras model, and warm-up records."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.examples import encode_rows
from trainwright_components.datasets.reader import sample_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.task import Task
from trainwright_components.errors import InvalidData
from trainwright_components.metrics.closeness import SHARE_OF_SPREAD, rounding_at, size_of, spread_of
from trainwright_components.saved_models.layout import WARMUP_FILE
from trainwright_components.saved_models.outputs import CLASSES, LABELS, OutputReader
from trainwright_components.saved_models.signatures import EXAMPLES_INPUT, SERVING_DEFAULT, SERVING_EXAMPLES
from trainwright_components.short_floats import plain_list
from trainwright_components.training.trained_model import TrainedModel

MAX_ROWS = 8
RELATIVE_TOLERANCE = 1e-5
_LOOK_AT_ROWS = 256
_MAX_NUMBERS = 100_000  # per request; JSON of large images would be slow to replay
_CLEAR_MARGIN = 1e-3  # rounding must not change which class is first

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class KnownRequest:
    """What is asked and, for a golden request, what the Keras model answers."""

    signature_name: str
    inputs: Arrays
    outputs: Arrays
    tolerance: float

    def to_json(self) -> str:
        """One line in the columnar form of TensorFlow Serving's REST API, with the answer beside it."""
        return json.dumps(
            {
                "signature_name": self.signature_name,
                "inputs": {name: _to_json(value) for name, value in self.inputs.items()},
                "outputs": {name: _to_json(value) for name, value in self.outputs.items()},
                "tolerance": self.tolerance,
                "is_absolute": True,
            }
        )


def make_requests(trained: TrainedModel, dataset: Path) -> tuple[KnownRequest, ...]:
    """One row and several rows, as dense tensors and as tf.Example, answered by the Keras model itself.

    Raises:
        InvalidData: The dataset has no rows.
    """
    schema = Schema(features=trained.schema.features)
    drawn, labels = _drawn_rows(dataset, trained.schema)
    rows = _choose_rows(trained, drawn)
    one = {name: column[:1] for name, column in rows.items()}
    requests = []
    for inputs in (one, rows) if len(next(iter(rows.values()))) > 1 else (one,):
        outputs = answer(trained, inputs)
        tolerance = tolerance_of(outputs, labels)
        examples = np.array(encode_rows(inputs, schema), dtype=object)
        requests += [
            KnownRequest(signature_name=name, inputs=asked, outputs=outputs, tolerance=tolerance)
            for name, asked in ((SERVING_DEFAULT, inputs), (SERVING_EXAMPLES, {EXAMPLES_INPUT: examples}))
        ]
    return tuple(requests)


def answer(trained: TrainedModel, features: Mapping[str, NDArray[Any]]) -> Arrays:
    """What the Keras model says, outside any exported graph, in the form of the exported answers."""
    import tensorflow as tf

    tensors = {
        feature.name: tf.constant(features[feature.name], dtype=getattr(tf, feature.dtype))
        for feature in trained.schema.features
    }
    outputs = trained.model(trained.module.preprocess(tensors, trained.context), training=False)
    if trained.schema.label is None:
        named = outputs if isinstance(outputs, Mapping) else {"outputs": outputs}
        return {name: np.asarray(value) for name, value in named.items()}
    reader = OutputReader.for_model(trained.model, trained.schema)
    read = reader.read(outputs).numpy()
    answers: Arrays = {reader.answer_name: read}
    if reader.task is Task.CLASSIFICATION:
        answers[CLASSES] = np.array(trained.schema.class_names, dtype=object)[read.argmax(axis=1)]
    if reader.label.value_names:
        answers[LABELS] = np.tile(np.array(reader.label.value_names, dtype=object), (len(read), 1))
    return answers


def write_warmup(requests: Iterable[KnownRequest], assets: Path) -> None:
    """Write `requests` as prediction logs, which a server replays before it makes the model available."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(assets / WARMUP_FILE)) as file:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            predict = log.predict_log.request
            predict.model_spec.signature_name = request.signature_name
            for name, value in request.inputs.items():
                predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString(deterministic=True))


def choose_split(dataset: Path) -> str:
    """The first of test, validation and train that has rows.

    Raises:
        InvalidData: None has.
    """
    splits = Statistics.load(dataset).splits
    for split in ("test", "validation", "train"):
        if split in splits and splits[split].rows:
            return split
    raise InvalidData(f"{dataset} has no rows, but requests with known answers are made from some")


def _drawn_rows(dataset: Path, schema: Schema) -> tuple[Arrays, NDArray[Any] | None]:
    """Features of a few rows, and their labels where they are numbers."""
    rows = sample_split(dataset, choose_split(dataset), _LOOK_AT_ROWS, schema=replace(schema, weight=None))
    features, *label = next(iter(rows.batch(_LOOK_AT_ROWS)))
    columns = {name: tensor.numpy() for name, tensor in features.items()}
    return columns, label[0].numpy() if has_numbers(schema) else None


def has_numbers(schema: Schema) -> bool:
    """Whether labels are numbers, neither classes nor absent."""
    return schema.label is not None and schema.label.kind == "number"


def _choose_rows(trained: TrainedModel, rows: Arrays) -> Arrays:
    """A few rows without missing numbers and with clear answers, of as many classes as there are."""
    answers = answer(trained, rows)
    count = len(next(iter(rows.values())))
    numbers = [value.reshape(count, -1) for value in (*rows.values(), *answers.values()) if value.dtype.kind == "f"]
    good = np.all([np.isfinite(value).all(axis=1) for value in numbers], axis=0) if numbers else np.ones(count, bool)
    if CLASSES in answers:
        probabilities = np.sort(next(iter(answers.values())), axis=1)
        good &= probabilities[:, -1] - probabilities[:, -2] > _CLEAR_MARGIN
        _, first_of_class = np.unique(answers[CLASSES].astype(str), return_index=True)
    else:
        first_of_class = np.array([], int)
    order = [*(index for index in sorted(first_of_class) if good[index]), *np.flatnonzero(good), *range(count)]
    size = sum(value[0].size for value in rows.values() if isinstance(value[0], np.ndarray)) or len(rows)
    most = max(1, min(MAX_ROWS, _MAX_NUMBERS // size))
    chosen = list(dict.fromkeys(int(index) for index in order))[:most]
    return {name: column[chosen] for name, column in rows.items()}


def tolerance_of(outputs: Arrays, labels: NDArray[Any] | None = None) -> float:
    """What rounding may change in answers like these: a share of the spread of their `labels`, else of their size."""
    size = max((size_of(value) for value in outputs.values() if value.dtype.kind == "f"), default=0.0)
    if labels is None:
        return RELATIVE_TOLERANCE * max(1.0, size)
    spread = spread_of(labels)
    return max(SHARE_OF_SPREAD * spread, rounding_at(size)) if spread else RELATIVE_TOLERANCE * size


def _to_json(value: NDArray[Any]) -> Any:
    return _texts(value.tolist()) if value.dtype == object else plain_list(value)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    if isinstance(value, str):
        return value
    text = value.decode("utf-8", errors="replace")
    if "\N{REPLACEMENT CHARACTER}" not in text and (text.isprintable() or text.isspace()):
        return text
    return {"b64": base64.b64encode(value).decode("ascii")}
