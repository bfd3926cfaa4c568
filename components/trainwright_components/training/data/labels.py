"""Refuse labels that no output of a model stands for: classes outside of them, and columns of another number.

What a prepared dataset holds in memory is looked at once, before the first step; streamed rows batch by batch as they
are read, by the processors that read them, so that no strategy waits for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidData
from trainwright_components.training.keras_internals import axis_of_classes
from trainwright_components.user_module.keras_kind import is_overridden

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SPARSE, ONE_HOT, BINARY, NUMERIC = "sparse", "one-hot", "binary", "numeric"
_KINDS = {
    "sparsecategoricalcrossentropy": SPARSE,
    "categoricalcrossentropy": ONE_HOT,
    "categoricalfocalcrossentropy": ONE_HOT,
    "categoricalhinge": ONE_HOT,
    "kldivergence": ONE_HOT,
    "kld": ONE_HOT,
    "binarycrossentropy": BINARY,
    "binaryfocalcrossentropy": BINARY,
    "bce": BINARY,
    **dict.fromkeys(
        (
            "meansquarederror",
            "mse",
            "meanabsoluteerror",
            "mae",
            "meanabsolutepercentageerror",
            "mape",
            "huber",
            "meansquaredlogarithmicerror",
            "msle",
            "logcosh",
            "poisson",
        ),
        NUMERIC,
    ),
}
_OWN_USE = ("train_step", "compute_loss")  # may make of labels what it likes
_MARK = "unusable label: "
_MARKED = re.compile(rf"assertion failed: \[{_MARK}([^\]]*)\]")


def needs_labels(model: "keras.Model") -> bool:
    """Whether the model's loss is computed from labels, by Keras itself."""
    return model.loss is not None and not any(is_overridden(model, name) for name in _OWN_USE)


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """What the labels of one split have to be for a model.

    Args:
        outputs: What the model puts out, as tensors or symbols.
        source: Whose labels they are, for messages, such as `the train split`.
    """

    model: "keras.Model"
    outputs: Any
    source: str

    def refuse_unusable(self, labels: Any) -> None:
        """Look at labels now.

        Raises:
            InvalidData: One is unusable.
        """
        import tensorflow as tf

        for is_bad, message in self._findings(tf.nest.map_structure(tf.convert_to_tensor, labels)):
            if bool(is_bad):
                raise InvalidData(message.numpy().decode())

    def within_graph(self, labels: Any) -> Any:
        """`labels`; using them fails while the graph runs where one is unusable, as `said_within_graph` tells."""
        import tensorflow as tf

        found = self._findings(labels)
        checks = [tf.debugging.Assert(~is_bad, [_MARK + message]) for is_bad, message in found]
        with tf.control_dependencies(checks):
            return tf.nest.map_structure(tf.identity, labels)

    def _findings(self, labels: Any) -> "Iterator[tuple[tf.Tensor, tf.Tensor]]":
        """For each output that stands for classes, whether a label is unusable, and what to say then.

        Raises:
            InvalidData: All labels are, by their shape or type.
        """
        import tensorflow as tf

        if not needs_labels(self.model):
            return
        for name, loss, output, label in _by_output(self.model, self.outputs, labels):
            where = f"the label of output {name!r}" if name else "the label"
            kind, shape = kind_of_loss(loss), tf.TensorShape(output.shape)
            if kind in (None, NUMERIC) or not shape.rank:
                continue
            if label.dtype == tf.string:
                raise InvalidData(f"{self.source}: {where} is text; number the classes from 0")
            if kind == SPARSE:
                yield from self._outside(label, loss, shape, where)
            elif kind == ONE_HOT:
                self._check_columns(label, shape, where)
            elif shape[-1] == 1 or not label.dtype.is_floating:
                values = _values(label)
                advice = "but its loss is one of the classes 0 and 1; number the classes so, or take a loss for more"
                yield self._finding(values, (values < 0) | (values > 1) | (values != values), where, advice)

    def _outside(
        self, label: "tf.Tensor", loss: Any, shape: "tf.TensorShape", where: str
    ) -> "Iterator[tuple[tf.Tensor, tf.Tensor]]":
        """Labels that are the number of no class."""
        import tensorflow as tf

        axis = axis_of_classes(loss)
        classes = shape[axis]
        if axis == -1 and label.shape.rank == shape.rank and (label.shape[-1] or 1) > 1:
            raise InvalidData(
                f"{self.source}: {where} has {label.shape[-1]} columns, but its loss takes the number of a class; "
                "compile with categorical_crossentropy"
            )
        values, ignored = _values(label), getattr(loss, "ignore_class", None)
        counts = values == values if ignored is None else values != ignored
        if classes is not None:
            advice = (
                f"but the model puts out {classes} classes, 0 to {classes - 1}; number the classes from 0, or give the "
                "last layer more units"
            )
            yield self._finding(values, ((values < 0) | (values >= classes)) & counts, where, advice)
        if values.dtype.is_floating:
            advice = "but its loss takes the number of a class, which is an integer"
            yield self._finding(values, tf.math.floor(values) != values, where, advice)

    def _check_columns(self, label: "tf.Tensor", shape: "tf.TensorShape", where: str) -> None:
        """Refuse labels that are not one number for each class."""
        if label.shape.rank is not None and label.shape.rank != shape.rank:
            raise InvalidData(
                f"{self.source}: {where} has no column for each class, which its loss takes; give one-hot labels, or "
                "compile with sparse_categorical_crossentropy"
            )
        columns = label.shape[-1] if label.shape.rank else None
        if None not in (columns, shape[-1]) and columns != shape[-1]:
            advice = "; for the number of a class compile with sparse_categorical_crossentropy" if columns == 1 else ""
            raise InvalidData(
                f"{self.source}: {where} has {columns} columns, but the model puts out {shape[-1]} classes{advice}"
            )

    def _finding(
        self, values: "tf.Tensor", is_bad: "tf.Tensor", where: str, advice: str
    ) -> "tuple[tf.Tensor, tf.Tensor]":
        import tensorflow as tf

        first = tf.boolean_mask(values, is_bad)[:1]
        shown = tf.strings.reduce_join(tf.strings.as_string(first, shortest=values.dtype.is_floating))
        return tf.reduce_any(is_bad), tf.strings.join([f"{self.source}: {where} is ", shown, f", {advice}"])


def said_within_graph(text: str) -> str:
    """What a check within a graph said, from the text of TensorFlow's error; empty where it was another error."""
    found = _MARKED.search(text)
    return found[1] if found else ""


def output_symbols(model: "keras.Model") -> Any:
    """What a model puts out, as symbols; None of one that says so only when it is called."""
    outputs = getattr(model, "output", None)
    if outputs is None and getattr(model, "outputs", None):
        outputs = model.outputs[0] if len(model.outputs) == 1 else list(model.outputs)
    return outputs


def _values(label: "tf.Tensor") -> "tf.Tensor":
    """All of them in a row, in a type that also holds the number of any class."""
    import tensorflow as tf

    return tf.reshape(tf.cast(label, tf.float64 if label.dtype.is_floating else tf.int64), [-1])


def kind_of_loss(loss: Any) -> str | None:
    """How a loss of Keras' reads its labels; None where it is the user's own."""
    own = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
    names = [own, *(kind.__name__ for kind in type(loss).__mro__)]
    return next((_KINDS[name] for name in (name.lower().replace("_", "") for name in names) if name in _KINDS), None)


def _by_output(model: "keras.Model", outputs: Any, labels: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, loss, output and label of each output that has all of them; the name is empty where there is one."""
    if isinstance(outputs, list | tuple):
        names = list(getattr(model, "output_names", None) or [])
        names = names if len(names) == len(outputs) else [str(place) for place in range(len(outputs))]
        outputs = dict(zip(names, outputs, strict=True))
    elif not isinstance(outputs, Mapping):
        outputs = {"": outputs}
    for place, (name, output) in enumerate(outputs.items()):
        loss, label = (_part(structure, name, place, len(outputs)) for structure in (model.loss, labels))
        is_shared = label is labels and len(outputs) > 1  # which Keras refuses in words of its own
        if loss is not None and label is not None and not is_shared:
            yield name if len(outputs) > 1 else "", loss, output, label


def _part(structure: Any, name: str, place: int, count: int) -> Any:
    """What of `structure`, which is one for all outputs or has a part for each, is for one of them."""
    if isinstance(structure, Mapping):
        return next(iter(structure.values())) if count == len(structure) == 1 else structure.get(name)
    if isinstance(structure, list | tuple):
        return structure[place] if len(structure) == count else None
    return structure
