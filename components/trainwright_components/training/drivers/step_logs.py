"""What the steps of replicas return, brought together: results of metrics over all of them, other numbers as means."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from trainwright_components.training.drivers.driver import flatten_logs
from trainwright_components.training.keras_internals import each_metric
from trainwright_components.training.replaced import replaced

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_current = threading.local()  # every replica is traced in a thread of its own


class StepLogs:
    """The logs of one kind of step, for training or for validation.

    A number is a metric's when it is what the metric's `result` gave, whatever name the step returns it under: a step
    that returns a loss of its own as `loss` has not counted it in Keras' metric of that name.
    """

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], Any] | None] = {}

    def own_part(self, logs: Any, part: "tf.Tensor") -> dict[str, Any]:
        """What this replica, with `part` of all rows, has of the numbers in `logs` that are no results of metrics."""
        import tensorflow as tf

        flat = flatten_logs(logs)
        results = {id(value): source for value, source in _current.__dict__.pop("results", [])}
        self._sources = {name: results.get(id(value)) for name, value in flat.items()}
        return {
            name: tf.math.multiply_no_nan(tf.cast(value, tf.float32), part)  # an empty share has nothing to say
            for name, value in flat.items()
            if self._sources[name] is None
        }

    def over_all(self, strategy: "tf.distribute.Strategy", parts: Mapping[str, Any]) -> dict[str, Any]:
        """The logs over all replicas: results of metrics, and means over rows of other numbers."""
        import tensorflow as tf

        return {
            name: source() if source else strategy.reduce(tf.distribute.ReduceOp.SUM, parts[name], axis=None)
            for name, source in self._sources.items()
        }


@contextmanager
def watching_results(model: "keras.Model") -> Iterator[None]:
    """Within it the results of metrics are remembered, to be known when a step returns them."""
    with ExitStack() as stack:
        for metric in each_metric(model.metrics):
            stack.enter_context(replaced(metric, "result", _remembering(metric, metric.result)))
        yield


def _remembering(metric: "keras.Metric", result: Callable[[], Any]) -> Callable[[], Any]:
    def remember() -> Any:
        given = result()
        results = _current.__dict__.setdefault("results", [])
        if not isinstance(given, dict):
            results.append((given, lambda: metric.result()))
            return given
        for name, value in flatten_logs(given).items():
            results.append((value, lambda name=name: flatten_logs(metric.result())[name]))
        return given

    return remember
