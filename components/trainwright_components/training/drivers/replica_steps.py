"""One step of one replica among several: the model's own train_step and test_step, as they are on one device.

A replica's share of a global batch may be a row shorter than another's, or empty: then it holds one row that counts for
nothing. The model sees its share as if it were alone; what replicas give is brought together so that the sum is that
of the global batch: gradients weighted by the rows of their shares, before an optimizer scales, clips or accumulates
them, and losses with the divisor of the global batch where they do not divide by rows.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainwright_components.training.drivers.sparse_gradients import SparseSums
from trainwright_components.training.drivers.step_result import StepResult, Taken
from trainwright_components.training.keras_internals import (
    Meeting,
    Reduce,
    kept_apart,
    meeting,
    optimizers_of,
    reduced_by,
    state_variables,
    weighing_means,
)
from trainwright_components.user_module.keras_variables import tensorflow_variable

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_current = threading.local()  # every replica is traced in a thread of its own


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of a global batch is this replica's.

    Args:
        part: Own rows as a fraction of all, float32.
        upscale: `1 / part`, or 0 for an empty share.
        is_empty: Whether there is no own row.
    """

    part: "tf.Tensor"
    upscale: "tf.Tensor"
    is_empty: "tf.Tensor"


class ReplicaSteps:
    """The train and test step of `model`, to be run on each replica with `(data, global_rows, own_rows)`."""

    def __init__(self, model: "keras.Model") -> None:
        self._model = model
        self.sums = SparseSums(model.train_step)
        self.train_result, self.test_result = StepResult(model), StepResult(model)
        self._optimizers = optimizers_of(model)
        state = state_variables(model)
        self._stated = [one for one in state if one.aggregation != "none"]
        self._state = [one for one in state if one.aggregation != "none" or one.dtype.startswith(("float", "bfloat"))]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Enter around `strategy.run` of a step."""
        with (
            self.train_result.watching(),
            reduced_by(_over_replicas),
            weighing_means(_weight_of),
            kept_apart(self._stated),
            meeting(self._optimizers, _GlobalBatch(self.sums)),
        ):
            yield

    def train(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Taken:
        """Take one optimizer step."""
        with self._counting(global_rows, own_rows), self._meeting_state(self._state):
            logs = self.sums.take_step(data)
            return self._taken(self.train_result, logs)

    def test(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Taken:
        """Count this replica's share in the metrics."""
        with self._counting(global_rows, own_rows), self._meeting_state(self._stated):
            return self._taken(self.test_result, self._model.test_step(data))

    def _taken(self, result: StepResult, logs: Any) -> Taken:
        counts = [tensorflow_variable(one).handle for one in self._model.metrics_variables]
        return result.taken(logs, counts, _current.share.part)

    @contextmanager
    def _counting(self, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Iterator[None]:
        """Within it losses and gradients know the share; after it an empty share has left no trace in the metrics."""
        import tensorflow as tf

        own, rows = tf.cast(own_rows, tf.float32), tf.cast(global_rows, tf.float32)
        share = Share(part=own / rows, upscale=tf.math.divide_no_nan(rows, own), is_empty=own_rows == 0)
        metrics = self._model.metrics_variables
        before = [tf.identity(variable.value) for variable in metrics]
        _current.share, _current.is_weighed = share, False
        try:
            yield
        finally:
            _current.share = None
        for variable, value in zip(metrics, before, strict=True):
            variable.assign(tf.where(share.is_empty, value, variable.value))

    @contextmanager
    def _meeting_state(self, variables: Sequence[Any]) -> Iterator[None]:
        """After it all replicas have the same values, such as BatchNorm's averages; Keras leaves each with its own."""
        import tensorflow as tf

        before = [tf.identity(variable.value) for variable in variables]
        yield
        context = tf.distribute.get_replica_context()
        for dtype in sorted({variable.dtype for variable in variables}):  # TensorFlow 2.21 packs what it sends together
            alike = [pair for pair in zip(variables, before, strict=True) if pair[0].dtype == dtype]
            changes = [tf.cast(_weight_of_change(one), dtype) * (one.value - value) for one, value in alike]
            changes = context.all_reduce(tf.distribute.ReduceOp.SUM, changes)
            for (variable, value), change in zip(alike, changes, strict=True):
                variable.assign(value + change)


def _weight_of_change(variable: Any) -> "tf.Tensor":
    """What a replica's change of a state counts: as much as its rows, unless the variable's `aggregation` says else."""
    import tensorflow as tf

    share: Share = _current.share
    if variable.aggregation == "sum":
        return tf.logical_not(share.is_empty)
    if variable.aggregation == "only_first_replica":
        return tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
    return share.part


class _GlobalBatch:
    """Losses and gradients of replicas, weighted by the rows of their shares and summed.

    Weighting the loss, where the step lets it through, also gets synchronized BatchNorm right, whose gradients cross
    from replica to replica.
    """

    def __init__(self, sums: SparseSums) -> None:
        self._sums = sums

    def weigh(self, loss: Any) -> Any:
        import tensorflow as tf

        _current.is_weighed = True
        share = _current.share
        if loss.shape.rank == 0:
            return loss * tf.cast(share.part, loss.dtype)
        return tf.where(share.is_empty, tf.zeros_like(loss), loss)  # its gradient is that of the sum over rows

    def combine(self, gradients: Sequence[Any]) -> Sequence[Any]:
        import tensorflow as tf

        present = [gradient for gradient in gradients if gradient is not None]
        if not _current.is_weighed:
            part = _current.share.part
            present = [tf.math.scalar_mul(tf.cast(part, one.dtype), one) for one in present]
        summed = iter(self._sums.over_replicas(present))
        return [None if gradient is None else next(summed) for gradient in gradients]


if TYPE_CHECKING:
    _meeting: type[Meeting] = _GlobalBatch


def _over_replicas(reduce: Reduce) -> Reduce:
    """Keras' reduction of a loss over rows, with the divisor that the global batch would give.

    A mean over rows needs nothing, since gradients are weighted by rows. A sum, and means over what a mask leaves or
    over weights, are brought into that form. A loss of each row is left to whoever reduces it.
    """

    def reduced(
        values: Any,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> Any:
        import tensorflow as tf

        loss = reduce(values, sample_weight=sample_weight, mask=mask, reduction=reduction, dtype=dtype)
        share: Share | None = getattr(_current, "share", None)
        if share is None or reduction in (None, "none") or tf.convert_to_tensor(values).shape.rank == 0:
            return loss
        if reduction == "sum":
            return loss * tf.cast(share.upscale, loss.dtype)
        divisor = _divisor(sample_weight, mask, reduction)
        if divisor is None:
            return loss
        own = tf.where(share.is_empty, 0.0, tf.stop_gradient(divisor))
        of_all = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)
        return loss * tf.cast(tf.math.divide_no_nan(own, of_all) * share.upscale, loss.dtype)

    return reduced


def _weight_of(values: Any, sample_weight: Any) -> Any:
    """The weight of `values` in a mean or a sum over replicas: one number of a batch counts as the share does."""
    import tensorflow as tf

    share: Share | None = getattr(_current, "share", None)
    is_one_number = sample_weight is None and tf.convert_to_tensor(values).shape.rank == 0
    return share.part if share is not None and is_one_number else sample_weight


def _divisor(sample_weight: Any, mask: Any, reduction: str) -> "tf.Tensor | None":
    """What Keras 3 divides a loss by; None when it is the number of values."""
    import tensorflow as tf

    counted = None if mask is None else tf.cast(mask, tf.float32)
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        weight = tf.cast(sample_weight, tf.float32)
        if counted is None:
            counted = weight
        else:
            missing = len(counted.shape) - len(weight.shape)
            counted *= tf.reshape(weight, [*tf.unstack(tf.shape(weight)), *[1] * missing]) if missing else weight
    return None if counted is None else tf.reduce_sum(counted)
