"""Weights of classes as weights of rows, as `class_weight` of Keras' fit has them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidSetting

if TYPE_CHECKING:
    import tensorflow as tf


def class_weighting(weights: Mapping[str, float], schema: Schema) -> Callable[[Any], Any]:
    """A function that multiplies the weights of the rows of a batch `(x, y)` or `(x, y, weight)` by those of classes.

    A class that `weights`, by name, leaves out weighs 1.

    Raises:
        InvalidSetting: The label has no such class.
    """
    if schema.label is not None and schema.label.kind == "multilabel":
        raise InvalidSetting(
            "training.class_weights cannot be used with several labels, of which a row may have any; weigh rows with "
            "data.weight_column, or labels in the loss of the module"
        )
    names = schema.label.class_names if schema.label is not None else ()
    if unknown := [name for name in weights if name not in names]:
        known = ", ".join(names) or "none, since the label is not a class"
        raise InvalidSetting(f"training.class_weights names {unknown[0]!r}, which is not a class; there are: {known}")
    table = [float(weights.get(name, 1.0)) for name in names]

    def weigh(batch: Any) -> Any:
        x, y, *rest = batch
        by_class = _of_rows(table, y)
        return x, y, (by_class if not rest else by_class * _like(rest[0], by_class))

    return weigh


def _of_rows(table: list[float], label: Any) -> "tf.Tensor":
    import tensorflow as tf

    if isinstance(label, Mapping | list | tuple):
        raise InvalidSetting("training.class_weights needs one label; for several, give make_dataset weights of rows")
    if label.shape.rank == 2 and label.shape[-1] > 1:
        label = tf.argmax(label, -1)  # one column per class
    return tf.gather(tf.constant(table), tf.reshape(tf.cast(label, tf.int32), [-1]))


def _like(weight: Any, by_class: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    return tf.cast(tf.reshape(weight, [-1]), by_class.dtype)
