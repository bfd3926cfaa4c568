"""Training steps of tf_keras models, and all that training uses of tf_keras beyond its public interface.

Checked with tf_keras 2.21, the only minor version in the range of pyproject.toml.
"""

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.sparse_gradients import SparseSums
from trainwright_components.training.drivers.step_result import StepResult, Taken
from trainwright_components.training.keras_internals import optimizers_of
from trainwright_components.training.patching import patched_attribute
from trainwright_components.user_module.keras_variables import metric_variables, value_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_current = threading.local()  # every replica is traced in a thread of its own


def build_tf_keras_variables(model: "keras.Model", batch: Any) -> None:
    """Make all variables of model, loss, metrics and optimizer for symbolic `batch`.

    Raises:
        InvalidModule: The optimizer is one of `tf_keras.optimizers.legacy`.
    """
    import tf_keras

    if isinstance(model.optimizer, tf_keras.optimizers.legacy.Optimizer):
        name = type(model.optimizer).__name__
        raise InvalidModule(
            f"the model is compiled with tf_keras.optimizers.legacy.{name}; use tf_keras.optimizers.{name}"
        )
    x, y, _ = tf_keras.utils.unpack_x_y_sample_weight(rows_like(batch))
    answers = model(x, training=False)
    model.optimizer.build(model.trainable_variables)
    if y is None:
        return
    if model.compiled_loss is not None:
        model.compiled_loss.build(answers)
    if model.compiled_metrics is not None:
        model.compiled_metrics.build(answers, model.compiled_metrics._conform_to_outputs(answers, y))


def rows_like(symbols: Any) -> Any:
    """One row of zeros in the form of `symbols`, since tf_keras calls only functional models with symbols."""
    import tensorflow as tf

    def row(symbol: Any) -> "tf.Tensor":
        return tf.zeros([1 if size is None else size for size in symbol.shape], symbol.dtype)

    return tf.nest.map_structure(row, symbols)


def save_with_the_chief(model: "keras.Model") -> None:
    """Do as the chief does, for nobody: what tf_keras saves of BatchNorm is read from all members together."""
    with tempfile.TemporaryDirectory(prefix="trainwright-save-") as folder:
        model.save(Path(folder, "model.keras"))


class TfKerasSteps:
    """The train and test step of a tf_keras `model` on each of several replicas; the face of `ReplicaSteps`.

    A replica's share of a global batch may be a row shorter than another's, or empty: then it holds one row that
    counts for nothing. Losses are weighted by the rows of the shares, so that what layers compute over replicas has the
    right gradients; where a train_step does not call `minimize`, gradients are.
    """

    def __init__(self, model: "keras.Model") -> None:
        self._model = model
        self.sums = SparseSums(model.train_step)
        self.train_result, self.test_result = StepResult(model), StepResult(model)
        self._state = [one for one in _state_variables(model) if one.dtype.is_floating]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Enter around `strategy.run` of a step."""
        from tf_keras.src.utils import losses_utils

        with ExitStack() as stack:
            stack.enter_context(self.train_result.watching())
            stack.enter_context(patched_attribute(losses_utils, "scale_loss_for_distribution", _unchanged))
            stack.enter_context(
                patched_attribute(
                    losses_utils, "compute_weighted_loss", _refusing_sums(losses_utils.compute_weighted_loss)
                )
            )
            for optimizer in optimizers_of(self._model):
                sees_gradients = getattr(optimizer, "inner_optimizer", optimizer)
                stack.enter_context(patched_attribute(sees_gradients, "aggregate_gradients", _summing(self.sums)))
                stack.enter_context(
                    patched_attribute(sees_gradients, "compute_gradients", _weighing(sees_gradients.compute_gradients))
                )
            yield

    def train(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Taken:
        """Take one optimizer step."""
        before = _values(self._state)
        with self._counting(global_rows, own_rows):
            logs = self.sums.take_step(data)
            self._average_state(before)
            return self.train_result.taken(logs, (), _current.part)

    def test(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Taken:
        """Count this replica's share in the metrics."""
        with self._counting(global_rows, own_rows):
            return self.test_result.taken(self._model.test_step(data), (), _current.part)

    @contextmanager
    def _counting(self, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Iterator[None]:
        """Within it gradients know the share; after it an empty share has left no trace in the metrics."""
        import tensorflow as tf

        variables = metric_variables(self._model)
        before = _values(variables)
        _current.part, _current.is_weighed = tf.cast(own_rows, tf.float32) / tf.cast(global_rows, tf.float32), False
        try:
            yield
        finally:
            _current.part = None
        for variable, value in zip(variables, before, strict=True):
            variable.assign(tf.where(own_rows == 0, value, value_of(variable)))

    def _average_state(self, before: Sequence["tf.Tensor"]) -> None:
        """Give all replicas the same BatchNorm averages, each weighted by its rows."""
        import tensorflow as tf

        if not self._state:
            return
        changes = [
            tf.cast(_current.part, value.dtype) * (value_of(variable) - value)
            for variable, value in zip(self._state, before, strict=True)
        ]
        changes = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, changes)
        for variable, value, change in zip(self._state, before, changes, strict=True):
            variable.assign(value + change)


def _state_variables(model: "keras.Model") -> list[Any]:
    """Variables that layers change as they are called, such as BatchNorm's averages; no frozen weights."""
    return [variable for layer in model._flatten_layers() for variable in layer._non_trainable_weights]


def _values(variables: Iterable[Any]) -> list["tf.Tensor"]:
    import tensorflow as tf

    return [tf.identity(value_of(variable)) for variable in variables]


def _summing(sums: SparseSums) -> Callable[[Iterable[tuple[Any, Any]]], list[tuple[Any, Any]]]:
    def sum_over_replicas(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        import tensorflow as tf

        pairs = list(pairs)
        part = tf.constant(1.0) if _current.is_weighed else _current.part
        present = [tf.math.scalar_mul(tf.cast(part, one.dtype), one) for one, _ in pairs if one is not None]
        summed = iter(sums.over_replicas(present))
        return [(None if gradient is None else next(summed), variable) for gradient, variable in pairs]

    return sum_over_replicas


def _weighing(compute: Any) -> Any:
    def compute_gradients(loss: Any, var_list: Any, tape: Any = None) -> list[tuple[Any, Any]]:
        import tensorflow as tf

        if tape is None or callable(loss) or callable(var_list):
            pairs: list[tuple[Any, Any]] = compute(loss, var_list, tape)
            return pairs
        _current.is_weighed = True
        gradients = tape.gradient(loss, var_list, output_gradients=tf.cast(_current.part, loss.dtype))
        return list(zip(gradients, var_list, strict=True))

    return compute_gradients


def _refusing_sums(compute: Any) -> Any:
    def compute_weighted_loss(losses: Any, sample_weight: Any = None, reduction: Any = "auto", name: Any = None) -> Any:
        if reduction == "sum":
            raise InvalidModule(
                "a tf_keras loss with reduction sum does not add up over several replicas; use sum_over_batch_size, "
                "or train on one device"
            )
        return compute(losses, sample_weight, reduction=reduction, name=name)

    return compute_weighted_loss


def _unchanged(value: Any) -> Any:
    return value
