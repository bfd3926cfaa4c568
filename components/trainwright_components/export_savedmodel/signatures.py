"""What an exported model can be asked: each signature as a graph function from raw features to answers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.reader import feature_spec, narrow
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.task import Task
from trainwright_components.errors import InvalidModule
from trainwright_components.saved_models.graph_names import graph_names
from trainwright_components.saved_models.outputs import CLASSES, LABELS, OutputReader
from trainwright_components.saved_models.signatures import (
    CLASSIFY,
    EXAMPLES_INPUT,
    PREPROCESS,
    PREPROCESSED,
    REGRESS,
    SERVING_DEFAULT,
    SERVING_EXAMPLES,
)
from trainwright_components.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import tensorflow as tf

METHOD_NAMES = {CLASSIFY: "tensorflow/serving/classify", REGRESS: "tensorflow/serving/regress"}

Answers = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to ask.

    Args:
        specs: Of the inputs, under names that a graph accepts.
        aliases: Graph names to the names that clients use, where they differ.
    """

    name: str
    function: Callable[..., Answers]
    specs: "tuple[tf.TensorSpec, ...]"
    aliases: Mapping[str, str] = field(default_factory=dict)


class SignatureBuilder:
    """Traces the preprocessing of a trained model once and builds every signature on it.

    One trace matters: lookup tables that `preprocess` creates are made by the trace, and the archive has to know them.
    """

    def __init__(self, trained: TrainedModel) -> None:
        import tensorflow as tf
        from tensorflow.python.trackable import resource  # the only way to learn which tables a trace has made

        self._model, self.schema = trained.model, trained.schema
        self._train = trained.context.statistics.splits.get("train")
        self.reader = OutputReader.for_model(self._model, self.schema) if self.schema.label else None
        names = self.schema.feature_names
        safe_names = graph_names(names)
        self.raw_specs = tuple(
            tf.TensorSpec([None, *feature.shape], getattr(tf, feature.dtype), name=safe)
            for feature, safe in zip(self.schema.features, safe_names, strict=True)
        )
        self.raw_aliases = _aliases(safe_names, names)
        module, context = trained.module, trained.context

        def preprocess(*tensors: Any) -> Any:
            return module.preprocess(dict(zip(names, tensors, strict=True)), context)

        tracker = resource.ResourceTracker()
        with resource.resource_tracker_scope(tracker):
            self._preprocess = tf.function(
                preprocess, input_signature=self.raw_specs, autograph=False
            ).get_concrete_function()
        self.tables = list(tracker.resources)

    def signatures(self) -> tuple[Signature, ...]:
        """Every signature that this model can have."""
        import tensorflow as tf

        examples = (tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT),)
        inputs = (tf.TensorSpec([None], tf.string, name="inputs"),)
        raw: dict[str, Any] = {"specs": self.raw_specs, "aliases": self.raw_aliases}
        found = [
            Signature(name=SERVING_DEFAULT, function=self._answer, **raw),
            Signature(name=SERVING_EXAMPLES, function=self._answer_examples, specs=examples),
        ]
        if self.reader and self.reader.task is not Task.REGRESSION:
            found.append(Signature(name=CLASSIFY, function=self._classify, specs=inputs))
        elif self.reader and not self.reader.label.shape:
            found.append(Signature(name=REGRESS, function=self._regress, specs=inputs))
        return (*found, *self._preprocessing_signatures(raw))

    def _preprocessing_signatures(self, raw: Mapping[str, Any]) -> tuple[Signature, ...]:
        import tensorflow as tf

        structure = self._preprocess.structured_outputs
        tensors = tf.nest.flatten(structure)
        if not all(isinstance(tensor, tf.Tensor) for tensor in tensors):
            return ()  # ragged and sparse tensors have no place in a signature
        names = _flat_names(structure)
        safe_names = graph_names(names)
        specs = tuple(
            tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=safe)
            for tensor, safe in zip(tensors, safe_names, strict=True)
        )

        def preprocess(*values: Any) -> Answers:
            made = tf.nest.flatten(self._preprocess(*values))
            return {name: tf.identity(tensor) for name, tensor in zip(names, made, strict=True)}

        def answer(*values: Any) -> Answers:
            return self._read(tf.nest.pack_sequence_as(structure, values), with_classes=False)

        return (
            Signature(name=PREPROCESS, function=preprocess, **raw),
            Signature(name=PREPROCESSED, function=answer, specs=specs, aliases=_aliases(safe_names, names)),
        )

    def _answer(self, *values: Any) -> Answers:
        return self._read(self._preprocess(*values))

    def _answer_examples(self, examples: Any) -> Answers:
        import tensorflow as tf

        columns = tf.io.parse_example(examples, self._example_spec())
        features = narrow(columns, self.schema)
        for feature in self.schema.features:
            if feature.is_whole and feature.dtype != "int64":  # a cast would make 44 of the pixel 300
                tf.debugging.assert_equal(
                    tf.cast(features[feature.name], tf.int64),
                    columns[feature.name],
                    message=f"{feature.name} must be {feature.dtype}",
                )
        return self._answer(*(features[name] for name in self.schema.feature_names))

    def _classify(self, inputs: Any) -> Answers:
        scores = next(iter(self._answer_examples(inputs).values()))
        return {"classes": self._names(scores), "scores": scores}

    def _names(self, answer: Any) -> Any:
        """What the values of each row of `answer` are called, `(batch, values)`."""
        import tensorflow as tf

        return tf.tile(tf.constant([self.schema.value_names]), [tf.shape(answer)[0], 1])

    def _regress(self, inputs: Any) -> Answers:
        return {"outputs": next(iter(self._answer_examples(inputs).values()))}

    def _read(self, inputs: Any, *, with_classes: bool = True) -> Answers:
        import tensorflow as tf

        outputs = self._model(inputs, training=False)
        if self.reader is None:
            return dict(zip(_flat_names(outputs, one="outputs"), tf.nest.flatten(outputs), strict=True))
        answer = self.reader.read(outputs)
        answers = {self.reader.answer_name: answer}
        if with_classes and self.reader.task is Task.CLASSIFICATION:
            answers[CLASSES] = tf.gather(tf.constant(self.schema.class_names), tf.argmax(answer, axis=-1))
        if with_classes and self.reader.label.value_names:
            answers[LABELS] = self._names(answer)
        return answers

    def _example_spec(self) -> dict[str, Any]:
        """As in training, but what was missing there may be left out by clients."""
        import tensorflow as tf

        spec = feature_spec(Schema(features=self.schema.features))
        for feature in self.schema.features:
            seen = self._train.columns.get(feature.name) if self._train else None
            if seen and seen.missing and not feature.shape and not feature.is_whole:
                default = "" if feature.dtype == "string" else float("nan")
                spec[feature.name] = tf.io.FixedLenFeature((), getattr(tf, feature.dtype), default)
        return spec


def _aliases(safe_names: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    return {safe: name for safe, name in zip(safe_names, names, strict=True) if safe != name}


def _flat_names(structure: Any, *, one: str = "inputs") -> tuple[str, ...]:
    """A name per tensor of `structure`, in the order of `tf.nest.flatten`."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        if any(tf.nest.is_nested(value) for value in structure.values()):
            raise InvalidModule("preprocess returns a dict with more dicts or lists inside; return one flat dict")
        return tuple(sorted(structure))
    count = len(tf.nest.flatten(structure))
    return (one,) if count == 1 else tuple(f"{one}_{index}" for index in range(count))
