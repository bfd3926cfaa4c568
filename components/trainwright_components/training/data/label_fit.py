"""Refuse a model whose loss or outputs do not stand for the label of a prepared dataset, in the label's words."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.schema import Label, Schema
from trainwright_components.errors import InvalidModule
from trainwright_components.saved_models.outputs import OutputReader, puts_out_logits
from trainwright_components.training.data.labels import BINARY, NUMERIC, ONE_HOT, SPARSE, kind_of_loss, needs_labels

if TYPE_CHECKING:
    import keras

_SHOWN_CLASSES = 5
_BINARY_LOSS = '"binary_crossentropy"'
_MSE = '"mse"'
_SPARSE_LOSS = '"sparse_categorical_crossentropy"'


def check_label_fit(model: "keras.Model", outputs: Any, schema: Schema, *, location: Path) -> None:
    """Refuse what would train without a word and could not be evaluated, or would learn something else.

    Args:
        model: Compiled.
        outputs: What the model puts out, as tensors or symbols; None where it is not known.
        schema: Of the prepared dataset.
        location: Of the module, whose lines are named.

    Raises:
        InvalidModule: The loss is not for such a label, or the last layer has another number of units.
    """
    import tensorflow as tf

    label, tensors = schema.label, tf.nest.flatten(outputs)
    if label is None or not tensors or any(each is None or tf.TensorShape(each.shape).rank is None for each in tensors):
        return
    fit = _Fit(model=model, label=label, location=location)
    if len(tensors) == 1 and needs_labels(model):
        fit.check_loss(tuple(tensors[0].shape))
    try:
        OutputReader.for_model(model, schema).read(tf.nest.map_structure(_rows, outputs))
    except InvalidModule as error:
        raise InvalidModule(f"{error}{fit.advise_layer()}") from error


def _rows(output: Any) -> Any:
    """One row of zeros in the shape of `output`, which may be a symbol."""
    import tensorflow as tf

    return tf.zeros([1 if size is None else size for size in output.shape])


@dataclass(frozen=True, kw_only=True)
class _Fit:
    model: "keras.Model"
    label: Label
    location: Path

    def check_loss(self, shape: tuple[int | None, ...]) -> None:
        """Refuse a loss that reads other labels than those there are; `shape` is that of the model's output."""
        loss = _alone(self.model.loss)
        kind, units = kind_of_loss(loss), shape[-1] if len(shape) > 1 else 1
        if self.label.kind == "class":
            problem = self._of_classes(kind, units)
        else:
            problem = self._of_labels(kind) if self.label.kind == "multilabel" else self._of_numbers(kind)
        if problem:
            shown = ", ".join(["batch", *map(str, shape[1:])])
            raise InvalidModule(
                f"the model of {self.location.name} puts out ({shown}) and has the loss {_name(loss)}, {problem}"
            )

    def _of_classes(self, kind: str | None, units: int | None) -> str:
        """What is wrong with a loss of that kind for classes; empty for nothing."""
        count, has_classes = len(self.label.class_names), self._count_classes()
        last = f"end the model with {self._dense(count)}{self.advise_layer()} and {self._compile(self._sparse())}"
        if kind == ONE_HOT:
            return (
                f"which takes one column for each class, but {has_classes} and is stored as their numbers, 0 to "
                f"{count - 1}; {self._compile(self._sparse())}"
            )
        if kind == BINARY and count != 2:
            return f"which is for 2 classes, but {has_classes}; {last}"
        if kind == BINARY and units != 1:
            return (
                f"which takes one column, the probability of {self.label.class_names[1]!r}: {has_classes}; end the "
                f'model with keras.layers.Dense(1, activation="sigmoid"){self.advise_layer()}, or '
                f"{self._compile(self._sparse())}"
            )
        if kind == NUMERIC and (units != 1 or count != 2):
            return (
                f"which is for numbers, but {has_classes}; {last}, or prepare the label as a number with "
                "data.task=regression"
            )
        if units == 1 and self._activation() == "softmax":
            return f"but softmax over one unit is 1 for every row, and {has_classes}; {last}"
        return ""

    def _of_labels(self, kind: str | None) -> str:
        """What is wrong with a loss of that kind, or with softmax, for labels of which a row may have any."""
        activation, count = self._activation(), len(self.label.value_names)
        is_for_labels = kind in (None, BINARY) or (kind == NUMERIC and activation == "sigmoid")  # Brier's score
        if is_for_labels and activation != "softmax":
            return ""
        why = "but softmax lets one label of all be likely" if is_for_labels else "which is not for such labels"
        return (
            f"{why}: the label {self.label.name!r} has {count} answers of 0 and 1, of which a row may have any; end "
            f'the model with keras.layers.Dense({count}, activation="sigmoid"){self.advise_layer()} and '
            f"{self._compile(_BINARY_LOSS)}"
        )

    def _of_numbers(self, kind: str | None) -> str:
        is_wrong = kind == SPARSE or (kind == ONE_HOT and not self.label.shape)
        if not is_wrong:
            return ""
        return (
            f"which is for classes, but the label {self.label.name!r} is a number; {self._compile(_MSE)} and end "
            f"the model with keras.layers.Dense(1){self.advise_layer()}, or prepare the label as classes with "
            "data.task=classification"
        )

    def _count_classes(self) -> str:
        names = self.label.class_names
        more = f" and {len(names) - _SHOWN_CLASSES} more" if len(names) > _SHOWN_CLASSES else ""
        return f"the label {self.label.name!r} has {len(names)} classes ({', '.join(names[:_SHOWN_CLASSES])}{more})"

    def _sparse(self) -> str:
        is_raw = puts_out_logits(self.model)
        return "keras.losses.SparseCategoricalCrossentropy(from_logits=True)" if is_raw else _SPARSE_LOSS

    def _dense(self, count: int) -> str:
        activation = "" if puts_out_logits(self.model) else ', activation="softmax"'
        return f"keras.layers.Dense({count}{activation})"

    def _compile(self, loss: str) -> str:
        return f"compile it with loss={loss}{_at(self.location, 'compile')}"

    def _activation(self) -> str:
        layer = self.model.layers[-1] if self.model.layers else None
        return getattr(getattr(layer, "activation", None), "__name__", "")

    def advise_layer(self) -> str:
        """Where the last layer is written, as far as the source shows it."""
        layer = self.model.layers[-1] if self.model.layers else None
        return _at(self.location, type(layer).__name__) if hasattr(layer, "units") else ""


def _alone(loss: Any) -> Any:
    """The loss of a model with one output, which may stand in a structure."""
    values = list(loss.values()) if isinstance(loss, Mapping) else loss
    return values[0] if isinstance(values, list | tuple) and len(values) == 1 else loss


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "name", "") or getattr(loss, "__name__", repr(loss))


def _at(location: Path, name: str) -> str:
    """The place of the last call of `name` in the module, such as ` (net.py, line 6)`; empty where there is none."""
    found = list(_calls(location, name))
    return f" ({found[-1]})" if found else ""


def _calls(location: Path, name: str) -> Iterator[str]:
    files = sorted(location.rglob("*.py")) if location.is_dir() else [location] if location.suffix == ".py" else []
    for file in files:
        lines = [
            node.lineno
            for node in ast.walk(ast.parse(file.read_bytes()))
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name
        ]
        if lines:
            yield f"{file.name}, line {max(lines)}"
