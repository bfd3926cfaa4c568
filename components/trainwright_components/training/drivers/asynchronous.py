"""The driver of parameter servers: the chief hands out batches in their one order, workers take steps by themselves.

Within one call of the loop workers do not wait for each other; between two calls nothing is in flight, so that a
checkpoint, a metric or a callback sees one state.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainwright_components.training.drivers.driver import Driver, Signals, as_numbers
from trainwright_components.training.drivers.feed import Feed
from trainwright_components.training.drivers.step_result import first_broken
from trainwright_components.training.keras_internals import build_variables

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_PORTIONS_PER_WORKER = 4  # enough for a fast worker to take over from a slow one
_MOST_STEPS, _MOST_BYTES = 64, 16 << 20  # of a portion, whose rows travel to the worker together


class AsynchronousDriver:
    """One model under a `ParameterServerStrategy`, driven by the chief.

    Args:
        train_batches: The endless training batches, in order.
        validation_batches: The same for validation; None without a validation split.
        validation_steps: Steps in one pass over the validation split.
        batch_size: Rows of a batch that is not the last of a pass.
    """

    def __init__(
        self,
        model: "keras.Model",
        strategy: "tf.distribute.Strategy",
        feed: Feed,
    ) -> None:
        import tensorflow as tf

        from trainwright_components.training.drivers.synchronous import symbols_of

        self._model, self._batch_size, self._in_flight = model, feed.batch_size, feed.workers * _PORTIONS_PER_WORKER
        train_batches, validation_batches = feed.undivided()
        self._train_batches, self._validation_batches = iter(train_batches), None
        if validation_batches is not None:
            self._validation_batches = iter(validation_batches)
        self._validation_steps = feed.validation_steps
        self._can_join = all(spec.shape[1:].is_fully_defined() for spec in tf.nest.flatten(train_batches.element_spec))
        batch = symbols_of(train_batches.element_spec)
        self.inputs = batch[0]
        self.has_validation = validation_batches is not None
        with strategy.scope():
            build_variables(model, batch)
            self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._train = _Work(model, strategy, model.train_step, feed.batch_size, train_batches.element_spec)
        if validation_batches is not None:
            self._test = _Work(model, strategy, model.test_step, feed.batch_size, validation_batches.element_spec)

    def train(self, count: int, signals: Signals) -> tuple[dict[str, float], Signals]:
        logs, broken_at = self._run(self._train, self._train_batches, count)
        return logs, replace(signals, broken_at=broken_at)

    def evaluate(self) -> dict[str, float]:
        if self._validation_batches is None:
            return {}
        self._model.reset_metrics()
        logs, _ = self._run(self._test, self._validation_batches, self._validation_steps)
        return logs

    def reset_metrics(self) -> None:
        self._model.reset_metrics()

    def _run(self, work: "_Work", batches: Iterator[Any], count: int) -> tuple[dict[str, float], int]:
        """Hand out `count` batches, wait for all, and count what came back; a step that was repeated counts once.

        Returns:
            The logs, and the first batch whose step had a loss that is NaN or infinite, from 1 on; 0 for none.
        """
        import tensorflow as tf

        results: list[Any] = []
        begins, begin = [], 0
        for portion in self._portions(batches, count):
            begins.append(begin)
            begin += -(-int(tf.nest.flatten(portion)[0].shape[0]) // self._batch_size)
            results.append(self._coordinator.schedule(work.on_worker, (portion,)))
            if len(results) > self._in_flight:
                results[-1 - self._in_flight].get()  # waits, so that the rows of a few portions are held, not of all
        self._coordinator.join()
        counts, own, broken_at = zip(*(result.get() for result in results), strict=True)
        logs = work.on_chief([tf.add_n(parts) for parts in zip(*counts, strict=True)], own[-1])
        broken = (before + int(within) for before, within in zip(begins, broken_at, strict=True) if int(within))
        return as_numbers(logs), min(broken, default=0)

    def _portions(self, batches: Iterator[Any], count: int) -> Iterator[Any]:
        """`count` batches as the rows of several, one after the other; only the last of a portion may be partial."""
        import tensorflow as tf

        most = max(1, min(count // self._in_flight, _MOST_STEPS)) if self._can_join else 1
        held: list[Any] = []
        for number in range(count):
            batch = next(batches)
            held.append(batch)
            columns = tf.nest.flatten(batch)
            rows, size = int(columns[0].shape[0]), sum(int(tf.size(one)) * one.dtype.size for one in columns)
            is_full = len(held) == most or len(held) * size >= _MOST_BYTES
            if is_full or rows < self._batch_size or number == count - 1:
                yield held[0] if len(held) == 1 else tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *held)
                held = []


class _Work:
    """One kind of step, for training or for validation."""

    def __init__(
        self,
        model: "keras.Model",
        strategy: "tf.distribute.Strategy",
        step: Callable[[Any], Any],
        batch_size: int,
        batch_spec: Any,
    ) -> None:
        import tensorflow as tf

        from trainwright_components.training.drivers.shared_state import SharedState

        self._strategy, self._step, self._size = strategy, step, batch_size
        self._state = SharedState(model)
        self.on_worker = tf.function(
            self._take_portion, input_signature=[_any_rows(batch_spec)], reduce_retracing=True, autograph=False
        )
        self.on_chief = tf.function(self._state.count, autograph=False)

    def _take_portion(self, rows: Any) -> Any:
        """Take the steps of a portion.

        Returns:
            What to add to the metrics, the last step's numbers of its own, and the first step that `is_broken`.
        """
        import tensorflow as tf

        total = tf.shape(tf.nest.flatten(rows)[0])[0]
        last = (total - 1) // self._size * self._size

        def take(begin: "tf.Tensor", counts: Any, first: "tf.Tensor") -> Any:
            end = tf.minimum(begin + self._size, total)
            batch = tf.nest.map_structure(lambda column: column[begin:end], rows)
            counts, (own, broken) = self._strategy.run(self._take_step, args=(batch, counts))
            return counts, own, first_broken(first, begin // self._size + 1, [broken])

        def go_on(begin: "tf.Tensor", counts: Any, first: "tf.Tensor") -> Any:
            counts, _, first = take(begin, counts, first)
            return begin + self._size, counts, first

        _, counts, first = tf.while_loop(
            lambda begin, *_: begin < last,
            go_on,
            (tf.constant(0), self._state.zeros(), tf.constant(0)),
            parallel_iterations=1,
        )
        return take(last, counts, first)

    def _take_step(self, batch: Any, counts: Any) -> Any:
        return self._state.run(self._step, batch, counts)


def _any_rows(batch_spec: Any) -> Any:
    """What portions of any number of rows look like, so that their function is traced once."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype), batch_spec)


if TYPE_CHECKING:
    _driver: type[Driver] = AsynchronousDriver
