"""State that several workers change at the same time, without losing a change.

Keras 3 writes a new value over the old one, so that of two workers at the same variable one is forgotten. Here a step
works on values that it read once at its beginning. What it adds to metrics it gives back, to be summed by the chief;
what it adds to averages and counters goes to the variables as an addition, which TensorFlow does as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.step_result import StepResult, Taken
from trainwright_components.training.keras_internals import inner_optimizers, optimizers_of, store_value, stored_value

Step = Callable[[Any], Any]


class SharedState:
    """Runs steps of `model` so that its state survives many workers.

    Attributes:
        counted: The metrics' variables, which a step does not touch.
    """

    def __init__(self, model: keras.Model) -> None:
        self.result = StepResult(model)
        self.counted: list[Any] = list(model.metrics_variables)
        optimizers = [inner for optimizer in optimizers_of(model) for inner in inner_optimizers(optimizer)]
        counters = [*(optimizer.iterations for optimizer in optimizers), *model.non_trainable_variables]
        distinct = {id(variable): variable for variable in counters}.values()
        self._added = [variable for variable in distinct if tf.as_dtype(variable.dtype) in _ADDABLE]

    def zeros(self) -> list[tf.Tensor]:
        """What the metrics' variables hold before the first step."""
        return [tf.zeros(variable.shape, variable.dtype) for variable in self.counted]

    def run(self, step: Step, data: Any, counts: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], Taken]:
        """Run `step` on `data`; returns `counts` with what it added, and what it gave beside."""
        counts = [tf.identity(count) for count in counts]
        read = [tf.identity(variable.value) for variable in self._added]
        values = [*zip(self.counted, counts, strict=True), *zip(self._added, read, strict=True)]
        with _StepScope(values) as scope, self.result.watching():
            taken = self.result.taken(step(data), counts)
        for variable, before in zip(self._added, read, strict=True):
            now = scope.get_current_value(variable)
            if now is not before:
                variable.value.assign_add(now - before)
        after = [scope.get_current_value(variable) for variable in self.counted]
        return [tf.ensure_shape(value, count.shape) for value, count in zip(after, counts, strict=True)], taken

    def count(self, sums: Sequence[tf.Tensor], own: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """Add what steps gave back; returns their logs, with the numbers of the last step that are its `own`."""
        for variable, value in zip(self.counted, sums, strict=True):
            variable.value.assign_add(value)
        return self.result.of_all(own)


_ADDABLE = (tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int32, tf.int64)


class _StepScope(keras.StatelessScope):  # type: ignore[misc]  # Keras has no types
    """Gives the state's variables values of their own; all others are read and written as ever."""

    def __init__(self, values: Sequence[tuple[Any, tf.Tensor]]) -> None:
        super().__init__(collect_losses=True)
        self.state_mapping.update({id(variable): value for variable, value in values})
        self._graph = tf.compat.v1.get_default_graph()

    def get_current_value(self, variable: Any) -> Any:
        return self.state_mapping.get(id(variable), stored_value(variable))

    def add_update(self, update: tuple[Any, tf.Tensor]) -> None:
        variable, value = update
        if id(variable) not in self.state_mapping:
            store_value(variable, value)
        elif value.graph is self._graph:
            self.state_mapping[id(variable)] = tf.stop_gradient(value)  # as of a variable, which it stands for
        else:
            raise InvalidModule(
                f"variable {variable.path} is updated within a condition or a loop, where parameter servers would lose "
                "updates; use a synchronous strategy, such as multi_worker_mirrored"
            )
