"""One step of one replica among several: Keras' own train_step and test_step, made exact for shares of unequal size.

A replica's share of a global batch may be a row shorter than another's, or empty: then it holds one row that counts for
nothing. Each row's weight is scaled so that the mean over the replicas of their mean losses is the mean over the batch;
metrics see each row once.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)


class ReplicaSteps:
    """The train and test step of `model`, to be run on each replica with `(data, global_rows, own_rows)`."""

    def __init__(self, model: "keras.Model", replicas: int) -> None:
        import keras

        self._model, self._replicas = model, replicas
        self._users_train = type(model).train_step is not keras.Model.train_step
        self._users_test = type(model).test_step is not keras.Model.test_step
        if self._users_train or self._users_test:
            logger.warning(
                "the model has its own train_step or test_step: on several replicas, shares of unequal size count alike"
            )
        else:
            self._reduces_itself = _stop_second_reduction(model.optimizer)

    def train(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> None:
        """Take one optimizer step on this replica's share."""
        import tensorflow as tf

        if self._users_train:
            self._model.train_step(data)
            return
        model = self._model
        with tf.GradientTape() as tape:
            loss = self._forward(data, global_rows, own_rows, training=True)
            loss = model.optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        if self._reduces_itself:
            gradients = _sum_over_replicas(gradients)
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._average_state()

    def test(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> None:
        """Count this replica's share in the metrics."""
        if self._users_test:
            self._model.test_step(data)
        else:
            self._forward(data, global_rows, own_rows, training=False)

    def _forward(self, data: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor", *, training: bool) -> "tf.Tensor":
        import keras
        import tensorflow as tf

        model = self._model
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        prediction = model(x, training=training)
        held = tf.shape(tf.nest.flatten(x)[0])[0]
        scale = tf.cast(held * self._replicas, tf.float32) / tf.cast(global_rows, tf.float32)
        counts = tf.cast(tf.range(held) < own_rows, tf.float32) * scale
        scaled = counts if weight is None else _times(tf.cast(weight, tf.float32), counts)
        loss = model.compute_loss(x, y, prediction, scaled, training=training)
        # Keras divides losses by the replicas; the tracker wants means over rows, to which each replica adds equally.
        rows = tf.cast(global_rows, tf.float32) / self._replicas
        model._loss_tracker.update_state(loss * self._replicas, sample_weight=rows)
        own_x, own_y, own_prediction, own_weight = tf.nest.map_structure(
            lambda part: None if part is None else part[:own_rows], (x, y, prediction, weight)
        )
        model.compute_metrics(own_x, own_y, own_prediction, own_weight)
        return loss

    def _average_state(self) -> None:
        """Give all replicas the same BatchNorm averages; Keras leaves each replica with its own."""
        import tensorflow as tf

        floats = [v.value for v in self._model.non_trainable_variables if v.dtype.startswith(("float", "bfloat"))]
        if floats:
            context = tf.distribute.get_replica_context()
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(v) for v in floats])
            for variable, mean in zip(floats, means, strict=True):
                variable.assign(mean)


def _sum_over_replicas(gradients: list[Any]) -> list[Any]:
    import tensorflow as tf

    present = [gradient for gradient in gradients if gradient is not None]
    summed = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if gradient is None else next(summed) for gradient in gradients]


def _times(weight: "tf.Tensor", counts: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    return weight * tf.reshape(counts, [-1, *[1] * (len(weight.shape) - 1)])


def _stop_second_reduction(optimizer: Any) -> bool:
    """Have gradients summed before they are clipped, as on one device; Keras 3.15 clips each replica's first."""
    inner = [optimizer, getattr(optimizer, "inner_optimizer", None)]
    reducing = [one for one in inner if hasattr(one, "_all_reduce_sum_gradients")]
    for one in reducing:
        one._all_reduce_sum_gradients = list
    return bool(reducing)
