"""What the steps of several devices or workers return, brought together: told from their trace, for every driver.

Replicas each count their own rows, and workers each what they add, so that a step's logs are not those of one device.
While a step is traced it is seen which of its numbers are results of metrics: these are computed again from all counts.
Of the others each replica has its part, and a worker's step, which has a whole batch, all.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.training.drivers.driver import flatten_logs
from trainwright_components.training.drivers.graph_ancestry import is_computed_from, unwrapped
from trainwright_components.training.keras_internals import each_metric
from trainwright_components.training.patching import patched_attribute

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_current = threading.local()  # every replica is traced in a thread of its own


Taken = tuple[dict[str, Any], "tf.Tensor"]
"""Of a step: numbers of its own, and whether the loss is NaN or infinite."""


class StepResult:
    """The result of one kind of step of `model`, for training or for validation.

    A number is a metric's when it is what the metric's `result` gave, whatever name the step returns it under: a step
    that returns a loss of its own as `loss` has not counted it in Keras' metric of that name. What a step computes from
    metrics is refused: it has seen some of the counts, and what it makes of them has no mean that means anything.
    """

    def __init__(self, model: "keras.Model") -> None:
        self._model = model
        self._sources: dict[str, Callable[[], Any] | None] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it the results of metrics are remembered, to be known when a step returns them."""
        with ExitStack() as stack:
            for metric in each_metric(self._model.metrics):
                stack.enter_context(patched_attribute(metric, "result", _remembering(metric, metric.result)))
            yield

    def taken(self, logs: Any, counts: "Sequence[tf.Tensor]", part: "tf.Tensor | None" = None) -> Taken:
        """What a step gave: those of `logs` that are not results of metrics, and whether its loss is broken.

        Args:
            logs: What the step returned.
            counts: The metrics' state as the step found it, or what holds it.
            part: Which part of the batch's rows the step took, of which the numbers are then a part; None for all.

        Raises:
            InvalidModule: One of these is computed from metrics.
        """
        import tensorflow as tf

        flat = flatten_logs(logs)
        results = {id(unwrapped(value)): source for value, source in _current.__dict__.pop("results", [])}
        self._sources = {name: results.get(id(unwrapped(value))) for name, value in flat.items()}
        own = {name: tf.cast(flat[name], tf.float32) for name, source in self._sources.items() if source is None}
        _refuse_computed(
            {name: own[name] for name in own if not isinstance(flat[name], int | float)}, counts, has_read=bool(results)
        )
        if part is None:
            return own, is_broken(logs)
        # an empty share has nothing to say
        parts = {name: tf.math.multiply_no_nan(value, part) for name, value in own.items()}
        return parts, tf.logical_and(is_broken(logs), part > 0)

    def of_all(self, own: "Mapping[str, tf.Tensor]") -> dict[str, Any]:
        """The logs of all: results of metrics from the counts that are there now, and the numbers of `own`."""
        return {name: source() if source else own[name] for name, source in self._sources.items()}


def is_broken(logs: Any) -> "tf.Tensor":
    """Whether the loss in the logs of a step is NaN or infinite."""
    import tensorflow as tf

    loss = tf.cast(flatten_logs(logs).get("loss", 0.0), tf.float32)
    return tf.logical_not(tf.reduce_all(tf.math.is_finite(loss)))


def first_broken(first: "tf.Tensor", step: "tf.Tensor", broken: "Sequence[tf.Tensor]") -> "tf.Tensor":
    """The number of the first step of which one of `broken` is true: `first` if there was one, 0 for none."""
    import tensorflow as tf

    return tf.where(tf.logical_and(first == 0, tf.reduce_any(tf.stack(list(broken)))), step, first)


def _refuse_computed(own: "Mapping[str, tf.Tensor]", counts: "Sequence[tf.Tensor]", *, has_read: bool) -> None:
    import tensorflow as tf

    if not tf.executing_eagerly():
        found = [name for name, value in own.items() if is_computed_from(value, counts)]
        reason = "is computed from metrics"
    else:
        found = list(own) if counts and has_read else []
        reason = "may be computed from metrics, which run_eagerly leaves no graph to tell"
    if found:
        raise InvalidModule(
            f"the step of the model returns {found[0]!r}, which {reason}, and each of several replicas or workers has "
            "only counted its own rows; return the result() of a metric as it is, compute the number in the result() "
            "of a metric of your own, leave it out, or train on one device (training.strategy one_device)"
        )


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
