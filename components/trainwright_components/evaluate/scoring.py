"""Run a trained model over a split, batch by batch, with the preprocessing it was trained with."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.metrics.thresholds import KERAS_PREFIX
from trainwright_components.saved_models.outputs import OutputReader
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.keras_kind import is_compiled, is_tf_keras, keras_of

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class ScoredBatch:
    """Rows with the model's answers; `features` are raw tensors, the rest is NumPy."""

    features: "Mapping[str, tf.Tensor]"
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None
    answers: NDArray[np.float32]


class Scorer:
    """The model, its preprocessing and its compiled Keras metrics as one graph function."""

    def __init__(self, trained: TrainedModel, dataset: Path, split: str, *, batch_size: int) -> None:
        import tensorflow as tf

        self._model = trained.model
        self._loss = keras_of(self._model).metrics.Mean()
        self._rows = _read_rows(trained, dataset, split).batch(batch_size)
        self._reader = OutputReader.for_model(self._model, trained.schema)
        self._label = self._reader.label.name
        module, context = trained.module, trained.context

        def score(features: Any, label: Any, weight: Any = None) -> Any:
            outputs = self._model(module.preprocess(features, context), training=False)
            if is_compiled(self._model):
                mode = {} if is_tf_keras(self._model) else {"training": False}
                loss = self._model.compute_loss(features, label, outputs, sample_weight=weight, **mode)
                self._loss.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(label)[0])[0])
                self._model.compute_metrics(x=features, y=label, y_pred=outputs, sample_weight=weight)
            return self._reader.read(outputs)

        self._score = score
        self._graph = tf.function(score, input_signature=self._rows.element_spec)

    def build(self) -> None:
        """Score one batch and forget it: shows mistakes early, and Keras makes its metrics' variables."""
        for row in self._rows.take(1):
            self._score(*row)
        if is_compiled(self._model):
            self._model.reset_metrics()
            self._loss.reset_state()

    def batches(self) -> Iterator[ScoredBatch]:
        """All rows in order."""
        import tensorflow as tf

        for features, labels, *rest in self._rows.prefetch(tf.data.AUTOTUNE):
            answers = self._graph(features, labels, *rest)
            weights = rest[0].numpy().astype(np.float64) if rest else None
            own = labels[self._label] if isinstance(labels, Mapping) else labels
            yield ScoredBatch(features=features, labels=own.numpy(), weights=weights, answers=answers.numpy())

    def keras_metrics(self) -> dict[str, float]:
        """The compiled metrics and the loss over the rows scored so far, under `keras_` names."""
        if not is_compiled(self._model):
            return {}
        values = self._model.get_metrics_result() | {"loss": self._loss.result()}
        return {f"{KERAS_PREFIX}{name}": float(value) for name, value in values.items() if np.ndim(value) == 0}


def check_same_data(trained: Schema, dataset: Schema) -> None:
    """Refuse a dataset that the model was not made for.

    Raises:
        InvalidData: A feature is missing, or the classes or labels differ.
    """
    for feature in trained.features:
        if feature.name not in dataset.feature_names:
            raise InvalidData(f"the model takes the feature {feature.name!r}, which this dataset does not have")
        other = dataset.feature(feature.name)
        is_wider = feature.is_whole and other.is_whole and np.can_cast(other.dtype, feature.dtype)
        if feature.shape != other.shape or (feature.dtype != other.dtype and not is_wider):
            raise InvalidData(
                f"the model takes {feature.name!r} as {feature.dtype} {feature.shape}, "
                f"this dataset has it as {other.dtype} {other.shape}"
            )
    if trained.value_names != dataset.value_names:
        what = "classes" if trained.class_names else "labels"
        raise InvalidData(
            f"the model knows the {what} {', '.join(trained.value_names) or 'none'}; this dataset has "
            f"{', '.join(dataset.value_names) or 'none'}: prepare it with the schema of the training data"
        )


def _read_rows(trained: TrainedModel, dataset: Path, split: str) -> "tf.data.Dataset":
    import tensorflow as tf

    make_dataset = trained.module.make_dataset
    if make_dataset is not None:
        rows = make_dataset(split, dataclasses.replace(trained.context, dataset=dataset))
        if rows.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InvalidSetting(f"the {split} split of make_dataset never ends; end it to evaluate on it")
        return rows
    schema, own = Schema.load(dataset), {feature.name: feature for feature in trained.schema.features}
    features = tuple(own.get(feature.name, feature) for feature in schema.features)
    return read_split(dataset, split, schema=dataclasses.replace(schema, features=features))
