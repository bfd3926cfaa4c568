"""What the steps of replicas return, brought together: results of metrics over all of them, other numbers as means."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.driver import flatten_logs
from trainwright_components.training.drivers.graph_ancestry import is_computed_from, unwrapped
from trainwright_components.training.keras_internals import each_metric
from trainwright_components.training.patching import patched_attribute
from trainwright_components.user_module.keras_variables import tensorflow_variable

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_current = threading.local()  # every replica is traced in a thread of its own


class StepLogs:
    """The logs of one kind of step, for training or for validation.

    A number is a metric's when it is what the metric's `result` gave, whatever name the step returns it under: a step
    that returns a loss of its own as `loss` has not counted it in Keras' metric of that name. What a step computes from
    metrics is refused: each replica has counts of its own, and what it makes of them has no mean that means anything.

    Args:
        counts: The metrics' variables of which each replica sees its own part.
    """

    def __init__(self, counts: "Callable[[], Sequence[keras.Variable]]" = tuple) -> None:
        self._counts = counts
        self._sources: dict[str, Callable[[], Any] | None] = {}

    def own_part(self, logs: Any, part: "tf.Tensor") -> dict[str, Any]:
        """What this replica, with `part` of all rows, has of the numbers in `logs` that are not results of metrics.

        Raises:
            InvalidModule: One of these is computed from metrics.
        """
        import tensorflow as tf

        flat = flatten_logs(logs)
        results = {id(unwrapped(value)): source for value, source in _current.__dict__.pop("results", [])}
        self._sources = {name: results.get(id(unwrapped(value))) for name, value in flat.items()}
        own = {name: tf.cast(flat[name], tf.float32) for name, source in self._sources.items() if source is None}
        self._refuse_computed({name: own[name] for name in own if not isinstance(flat[name], int | float)}, results)
        return {
            name: tf.math.multiply_no_nan(value, part)  # an empty share has nothing to say
            for name, value in own.items()
        }

    def _refuse_computed(self, own: "Mapping[str, tf.Tensor]", results: Mapping[int, Any]) -> None:
        import tensorflow as tf

        counts = [tensorflow_variable(one).handle for one in self._counts()]
        if not tf.executing_eagerly():
            found = [name for name, value in own.items() if is_computed_from(value, counts)]
            reason = "is computed from metrics"
        else:
            found = list(own) if counts and results else []
            reason = "may be computed from metrics, which run_eagerly leaves no graph to tell"
        if found:
            raise InvalidModule(
                f"the step of the model returns {found[0]!r}, which {reason}, and each of several replicas has only "
                "counted its own rows; return the result() of a metric as it is, compute the number in the result() of "
                "a metric of your own, leave it out, or train on one device (training.strategy one_device)"
            )

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
            stack.enter_context(patched_attribute(metric, "result", _remembering(metric, metric.result)))
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
