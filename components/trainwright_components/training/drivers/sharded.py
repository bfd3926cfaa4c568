"""The driver of a model with sharded variables: one call into TensorFlow per step, on batches that every device has."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.drivers.driver import Driver, Signals, flatten_logs
from trainwright_components.training.drivers.feed import Feed
from trainwright_components.training.drivers.sharding import VariableSharding
from trainwright_components.training.drivers.synchronous import symbols_of
from trainwright_components.training.keras_internals import build_variables

if TYPE_CHECKING:
    import keras


class ShardedDriver:
    """Runs the steps of Keras itself; DTensor makes each of them one of all devices."""

    def __init__(
        self,
        model: "keras.Model",
        sharding: VariableSharding,
        feed: Feed,
    ) -> None:
        import tensorflow as tf

        self._model, self._sharding = model, sharding
        train_batches, validation_batches = feed.undivided()
        self._train: Iterator[Any] = iter(train_batches)
        self._validation: Iterator[Any] | None = None
        self._validation_batches, self._validation_steps = validation_batches, feed.validation_steps
        batch = symbols_of(train_batches.element_spec, 1)
        self.inputs = batch[0]
        self.has_validation = validation_batches is not None
        with sharding.variables():
            build_variables(model, batch)
        sharding.check_all_found([weight.path for weight in model.weights])
        self._train_step = tf.function(lambda data: model.train_step(data), reduce_retracing=True, autograph=False)
        self._test_step = tf.function(lambda data: model.test_step(data), reduce_retracing=True, autograph=False)

    def train(self, count: int, signals: Signals) -> tuple[dict[str, float], Signals]:
        logs, broken_at = self._run(self._train_step, self._train, count)
        return logs, replace(signals, broken_at=broken_at)

    def evaluate(self) -> dict[str, float]:
        if self._validation_batches is None:
            return {}
        if self._validation is None:
            self._validation = iter(self._validation_batches)
        self._model.reset_metrics()
        logs, _ = self._run(self._test_step, self._validation, self._validation_steps)
        return logs

    def reset_metrics(self) -> None:
        self._model.reset_metrics()

    def _run(self, step: Callable[[Any], Any], batches: Iterator[Any], count: int) -> tuple[dict[str, float], int]:
        import tensorflow as tf
        from tensorflow.experimental import dtensor

        logs: dict[str, Any] = {}
        broken_at = 0
        for number in range(1, count + 1):
            batch = tf.nest.map_structure(self._sharding.replicate, next(batches))
            with dtensor.default_mesh(self._sharding.mesh), _translate_unknown_errors():
                logs = flatten_logs(step(batch))
            if not broken_at and not math.isfinite(float(logs.get("loss", 0.0))):
                broken_at = number
        return {name: float(value) for name, value in logs.items()}, broken_at


@contextmanager
def _translate_unknown_errors() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.UnknownError as error:
        reason = str(error).partition("error: ")[2].partition("\n")[0].partition("::")[0] or str(error)
        raise InvalidSetting(
            f"training.strategy dtensor: TensorFlow cannot share out an operation of this model ({reason.strip()}); "
            "cut other weights in training.layout, or put layers on devices with training.placement"
        ) from error


if TYPE_CHECKING:
    _driver: type[Driver] = ShardedDriver
