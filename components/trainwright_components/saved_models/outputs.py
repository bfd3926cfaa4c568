"""How to read what a model puts out: class probabilities or numbers, from the schema, the loss and the last layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from trainwright_components.datasets.schema import Label, Schema
from trainwright_components.datasets.task import Task, task_of
from trainwright_components.errors import InvalidModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

PROBABILITIES = "probabilities"
CLASSES = "classes"
LABELS = "labels"
PREDICTIONS = "predictions"


@dataclass(frozen=True, kw_only=True)
class OutputReader:
    """Turns a model's raw outputs into answers that mean the same for every model.

    Args:
        from_logits: The outputs are scores before softmax or sigmoid.
    """

    task: Task
    label: Label
    from_logits: bool = False

    @classmethod
    def for_model(cls, model: "keras.Model", schema: Schema) -> Self:
        """The reader for `model`, whose loss or last layer says whether it puts out logits.

        Raises:
            InvalidData: The schema has no label.
        """
        task = task_of(schema)
        assert schema.label is not None  # task_of has refused it
        from_logits = task is not Task.REGRESSION and puts_out_logits(model)
        return cls(task=task, label=schema.label, from_logits=from_logits)

    @property
    def answer_name(self) -> str:
        """The name of the answer in exported signatures."""
        return PREDICTIONS if self.task is Task.REGRESSION else PROBABILITIES

    def read(self, outputs: Any) -> "tf.Tensor":
        """Answers as float32: probabilities `(batch, classes or labels)` or numbers `(batch, *label.shape)`.

        Raises:
            InvalidModule: The outputs do not have the shape that the label asks for.
        """
        import tensorflow as tf

        output = tf.cast(self._pick(outputs), tf.float32)
        if self.task is Task.CLASSIFICATION:
            return self._probabilities(output)
        numbers = self._numbers(output)
        return tf.sigmoid(numbers) if self.from_logits else numbers

    def _pick(self, outputs: Any) -> Any:
        if isinstance(outputs, Mapping):
            found = outputs if len(outputs) == 1 else {k: v for k, v in outputs.items() if k == self.label.name}
            if len(found) == 1:
                return next(iter(found.values()))
            names = ", ".join(map(repr, outputs))
            raise InvalidModule(f"the model puts out {names}; call the one that predicts the label {self.label.name!r}")
        if isinstance(outputs, list | tuple):
            if len(outputs) != 1:
                raise InvalidModule(
                    f"the model puts out {len(outputs)} tensors; return a dict that names the one for the label "
                    f"{self.label.name!r}"
                )
            return outputs[0]
        return outputs

    def _probabilities(self, output: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        classes = len(self.label.class_names)
        if output.shape.rank == 1:
            output = output[:, None]
        if output.shape.rank == 2 and output.shape[-1] == 1 and classes == 2:
            positive = tf.sigmoid(output) if self.from_logits else output
            return tf.concat([1.0 - positive, positive], axis=-1)
        if output.shape.rank != 2 or output.shape[-1] != classes:
            raise InvalidModule(
                f"the label {self.label.name!r} has {classes} classes, but the model puts out the shape "
                f"{_shown(output)}; its last layer needs {classes} units"
            )
        return tf.nn.softmax(output) if self.from_logits else output

    def _numbers(self, output: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        shape = self.label.shape
        if output.shape.rank == len(shape) + 2 and output.shape[-1] == 1:
            output = tf.squeeze(output, axis=-1)
        if tuple(output.shape[1:]) != shape:
            raise InvalidModule(
                f"the label {self.label.name!r} has the shape {shape} per row, but the model puts out "
                f"{_shown(output)}; its last layer needs {shape[-1] if shape else 1} units"
            )
        return output


def _shown(output: "tf.Tensor") -> str:
    return "(" + ", ".join(["batch", *map(str, output.shape[1:])]) + ")"


def puts_out_logits(model: "keras.Model") -> bool:
    """Whether softmax or sigmoid still has to be taken; the loss knows, else the activation of the last layer."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, list | tuple | dict) and len(loss) == 1:
        loss = next(iter(loss.values())) if isinstance(loss, dict) else loss[0]
    config = loss.get_config() if loss is not None and hasattr(loss, "get_config") else {}
    if "from_logits" in config:
        return bool(config["from_logits"])
    if isinstance(loss, str):
        return False  # Keras' own losses by name take probabilities
    activation = getattr(model.layers[-1], "activation", None) if model.layers else None
    return getattr(activation, "__name__", "") == "linear"
