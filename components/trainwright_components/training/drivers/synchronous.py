"""The driver of synchronous strategies: many steps per call into TensorFlow, each under `strategy.run`."""

import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainwright_components.training.drivers.adding import check_adding, metrics_to_try
from trainwright_components.training.drivers.driver import Driver, Signals, as_numbers
from trainwright_components.training.drivers.feed import Feed
from trainwright_components.training.drivers.replica_steps import ReplicaSteps
from trainwright_components.training.drivers.step_result import StepResult, first_broken, is_broken
from trainwright_components.training.drivers.tf_keras_steps import TfKerasSteps, build_tf_keras_variables
from trainwright_components.training.keras_internals import build_variables
from trainwright_components.user_module.keras_kind import is_tf_keras

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)

Step = Callable[[Any], Any]


class SynchronousDriver:
    """One model under one synchronous strategy."""

    def __init__(self, model: "keras.Model", strategy: "tf.distribute.Strategy", feed: Feed) -> None:
        import tensorflow as tf

        self._model, self._strategy, self._is_chief = model, strategy, feed.is_chief
        self._replicas = strategy.num_replicas_in_sync
        self._processes = feed.processes
        self._passes, self._step = feed.passes, feed.first_step
        with tf.device("CPU:0"):
            self._train_iterator = iter(strategy.distribute_datasets_from_function(feed.train_batches))
        self._validation_batches = feed.validation_batches
        self._validation_iterator: Any = None
        self._validation_steps = feed.validation_steps
        batch = symbols_of(self._train_iterator.element_spec, self._replicas)
        self.inputs = batch[0]
        self.has_validation = feed.validation_batches is not None
        with strategy.scope():
            if is_tf_keras(model):
                build_tf_keras_variables(model, batch)
            else:
                build_variables(model, batch)
        self._steps = steps = _replica_steps(model) if self._replicas > 1 else None
        if steps is None:
            self._train_many, self._test_many = self._make_many(model.train_step), self._make_many(model.test_step)
        else:
            self._train_many = self._make_many(steps.train, steps, steps.train_result)
            self._test_many = self._make_many(steps.test, steps, steps.test_result)
            self._try_metrics(steps, feed)

    def train(self, count: int, signals: Signals) -> tuple[dict[str, float], Signals]:
        begin, broken_at = self._step, 0
        last = begin + count
        while True:
            several = min(last - self._step, self._steps_at_once())
            logs, agreed = self._train_many(self._train_iterator, several, signals)
            if agreed.broken_at and not broken_at:
                broken_at = self._step - begin + agreed.broken_at
            self._step += several
            if self._step == last:
                return logs, replace(agreed, broken_at=broken_at)

    def _try_metrics(self, steps: ReplicaSteps | TfKerasSteps, feed: Feed) -> None:
        metrics = metrics_to_try(self._model)
        for step, batches in ((steps.train, feed.train_batches), (steps.test, feed.validation_batches)):
            if metrics and batches is not None:
                batch = next(iter(self._strategy.distribute_datasets_from_function(batches)))
                take_step = functools.partial(self._one(step, steps), batch)
                check_adding(self._model, metrics, take_step, is_stated_taken=True)

    def _steps_at_once(self) -> int:
        """How many steps one call into TensorFlow may take.

        What replicas gather from each other has one shape in a call: TensorFlow 2.21 gives the collective of a loop one
        key for all of its turns, and the shape that it had first.
        """
        sums = self._steps.sums if self._steps is not None else None
        if sums is not None and (sums.gathers is None or sums.varies):
            return 1
        if sums is None or not sums.gathers or self._passes is None:
            return sys.maxsize
        return self._passes.alike(self._step)

    def evaluate(self) -> dict[str, float]:
        if self._validation_batches is None:
            return {}
        if self._validation_iterator is None:
            self._validation_iterator = iter(self._strategy.distribute_datasets_from_function(self._validation_batches))
        self._model.reset_metrics()
        logs, _ = self._test_many(self._validation_iterator, self._validation_steps, Signals())
        return logs

    def reset_metrics(self) -> None:
        self._model.reset_metrics()

    def _one(self, step: Callable[..., Any], steps: ReplicaSteps | TfKerasSteps | None) -> Step:
        """A function that runs `step` on every replica, once; returns its logs, and whether its loss is broken."""
        import tensorflow as tf

        def alone(batch: Any) -> Any:
            logs = step(batch)
            return logs, is_broken(logs)

        def one(batch: Any) -> Any:
            if steps is None:
                return self._strategy.run(alone, args=(batch,))
            with steps.together():
                return self._strategy.run(step, args=batch)

        if self._model.run_eagerly:
            return one
        is_xla = bool(self._model.jit_compile) and self._supports_xla()
        compiled: Step = tf.function(one, jit_compile=is_xla, reduce_retracing=True, autograph=False)
        return compiled

    def _supports_xla(self) -> bool:
        """TensorFlow 2.21 cannot put what replicas send each other into one XLA program, except between GPUs."""
        if self._replicas == 1 or all("GPU" in device for device in self._strategy.extended.worker_devices):
            return True
        logger.warning("jit_compile has no effect on several replicas without GPUs; the step runs uncompiled")
        return False

    def _make_many(
        self,
        step: Callable[..., Any],
        steps: ReplicaSteps | TfKerasSteps | None = None,
        result: StepResult | None = None,
    ) -> Callable[..., tuple[dict[str, float], Signals]]:
        """A function that runs `step` many times and gives the metrics after the last."""
        import tensorflow as tf

        model, strategy, one = self._model, self._strategy, self._one(step, steps)

        def many(iterator: Any, count: "tf.Tensor", signals: "tf.Tensor") -> Any:
            def take(step: Any, first: Any) -> Any:
                logs, broken = one(next(iterator))
                return logs, first_broken(first, step, strategy.experimental_local_results(broken))

            first = tf.constant(0)
            if tf.executing_eagerly():
                for step in range(1, int(count)):
                    _, first = take(step, first)
            else:
                _, first = tf.while_loop(
                    lambda step, _: step < count, lambda step, first: (step + 1, take(step, first)[1]), (1, first)
                )
            logs, first = take(count, first)
            agreed = tf.concat([signals, tf.cast([first], tf.float32)], 0)
            if self._processes > 1:
                agreed = strategy.run(_sum, args=(signals, first))
                agreed = strategy.experimental_local_results(agreed)[0]
            if result is not None:
                add = tf.distribute.ReduceOp.SUM
                logs = result.of_all({name: strategy.reduce(add, part, axis=None) for name, part in logs.items()})
            return logs, agreed

        compiled = many if model.run_eagerly else tf.function(many, reduce_retracing=True, autograph=False)

        def call(iterator: Any, count: int, signals: Signals) -> tuple[dict[str, float], Signals]:
            by_chief = [signals.save, signals.count] if self._is_chief else [0, 0]
            own = tf.constant([signals.stop, signals.one_by_one, *by_chief], tf.float32)
            logs, agreed = compiled(iterator, tf.constant(count), own)
            stop, one_by_one, save, next_count, *broken = (float(value) for value in agreed)
            signals = replace(signals, broken_at=int(min((one for one in broken if one), default=0)))
            if self._processes > 1:
                next_count /= self._replicas // self._processes  # each replica of the chief added its own
                signals = replace(
                    signals, stop=stop > 0, one_by_one=one_by_one > 0, save=save > 0, count=round(next_count)
                )
            return as_numbers(logs), signals

        return call


if TYPE_CHECKING:
    _driver: type[Driver] = SynchronousDriver


def _replica_steps(model: "keras.Model") -> ReplicaSteps | TfKerasSteps:
    return TfKerasSteps(model) if is_tf_keras(model) else ReplicaSteps(model)


def _sum(signals: "tf.Tensor", broken_at: "tf.Tensor") -> "tf.Tensor":
    """The sums of `signals`, and after them each replica's `broken_at`."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    own = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync) * tf.cast(broken_at, tf.float32)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat([signals, own], 0))


def symbols_of(element_spec: Any, replicas: int = 1) -> Any:
    """The elements of a dataset as symbolic tensors, without the numbers that come along for several replicas."""
    import keras
    import tensorflow as tf

    def symbol(one: Any) -> Any:
        one = one._value_specs[0] if hasattr(one, "_value_specs") else one  # PerReplicaSpec
        return keras.KerasTensor(tuple(one.shape), one.dtype.name)

    return tf.nest.map_structure(symbol, element_spec if replicas == 1 else element_spec[0], expand_composites=False)
