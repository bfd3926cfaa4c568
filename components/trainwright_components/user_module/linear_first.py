"""A linear model that is trained before a network is added to it, as regularised as the validation rows ask for.

A network and a linear model that start together disturb each other: on few rows and many columns the first steps of
Adam, of one size for every weight, are noise that the validation metric never recovers from. So the linear model comes
first, from a strong l2 to a weak one, each where the last one ended: the regularisation path of Friedman, Hastie and
Tibshirani (Journal of Statistical Software 33, 2010). The network is added to its best weights.
"""

from collections.abc import Callable
from typing import Any

import keras

from trainwright_components.errors import InvalidModule

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""What an l2 is multiplied with on the path."""
_NOTICED = 1000.0  # times its strength: on more rows than these, an l2 of 1 / rows changes nothing
_CUT, _MAX_CUTS = 0.3, 3  # of the learning rate, and how often in one stage
_MIN_GAIN = 1e-4  # of the metric; what is less ends a stage


@keras.saving.register_keras_serializable("trainwright")
class FactorL2(keras.regularizers.Regularizer):  # type: ignore[misc]  # Keras has no types
    """L2 times a factor that may change during training; a model that is loaded has the factor 1."""

    def __init__(self, l2: float, factor: Any = 1.0) -> None:
        self.l2, self.factor = l2, factor

    def __call__(self, x: Any) -> Any:
        """The loss of the weights `x`."""
        return self.l2 * self.factor * keras.ops.sum(keras.ops.square(x))

    def get_config(self) -> dict[str, Any]:
        """What makes it again."""
        return {"l2": self.l2}


@keras.saving.register_keras_serializable("trainwright")
class LinearFirst(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The sum of a linear model and, once `LinearFirstSchedule` lets it in, of a network.

    Called with the output of the linear model, `(batch, outputs)`, and that of the network, of the same shape, or
    without a network. Two weights that are not trained hold the stage, so that a checkpoint has it, too.

    Args:
        columns: How many numbers the linear model is given.
        rows: How many rows it learns from. Both say how strong an l2 is worth a try.
    """

    def __init__(self, columns: int, rows: int, **options: Any) -> None:
        super().__init__(**options)
        self.columns, self.rows = columns, rows
        strongest = max(each for each in STRENGTHS if each == 1 or rows / _NOTICED <= each <= 2 * columns)
        constant = keras.initializers.Constant
        self.strength = self.add_weight(name="strength", initializer=constant(strongest), trainable=False)
        self.opened = self.add_weight(name="opened", initializer=constant(0.0), trainable=False)
        self.has_network = False

    def linear_l2(self, l2: float) -> FactorL2:
        """For the weights of the linear model."""
        return FactorL2(l2, self.strength)

    def network_l2(self, l2: float) -> FactorL2:
        """For the weights of the network, which keep their first values until it is let in."""
        return FactorL2(l2, self.opened)

    def call(self, linear: Any, network: Any = None) -> Any:
        """The sum."""
        self.has_network = network is not None
        return linear if network is None else linear + self.opened * network

    def get_config(self) -> dict[str, Any]:
        """What makes it again."""
        return {**super().get_config(), "columns": self.columns, "rows": self.rows}


class LinearFirstSchedule(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Goes from stage to stage of a `LinearFirst`: weaker l2 as long as that helps, then the network, then the end.

    A stage without progress goes back to the best weights with a smaller learning rate, and ends when that brings
    nothing either. Where no validation rows are scored during the training, the metric of the training rows decides.

    Args:
        monitor: A metric, as early stopping takes it.
        mode: `min` or `max`.
        patience: Epochs without progress that end a stage or make the learning rate smaller.
        learning_rate: What each stage begins with.
    """

    def __init__(self, *, monitor: str, mode: str, patience: int, learning_rate: float) -> None:
        super().__init__()
        self.monitor, self.patience, self.learning_rate = monitor, patience, learning_rate
        self._sign = 1.0 if mode == "min" else -1.0
        self._best: float | None = None
        self._mark: float | None = None
        self._weights: Any = None
        self._waited = self._cuts = 0
        self._gained = self._stage_gained = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the metric."""
        metrics = logs or {}
        layer, value = self._layer(), metrics.get(self.monitor, metrics.get(self.monitor.removeprefix("val_")))
        if value is None:
            raise InvalidModule(f"there is no metric {self.monitor!r}; there are {', '.join(sorted(metrics))}")
        value *= self._sign
        if self._best is None or value < self._best:
            self._best, self._weights = value, self.model.get_weights()
        if self._mark is None or value < self._mark - _MIN_GAIN * abs(self._mark):
            self._mark, self._waited = value, 0
            self._gained = self._stage_gained = True
        else:
            self._waited += 1
        is_open, strength = bool(_number(layer.opened)), _number(layer.strength)
        if not is_open and epoch + 1 >= self.params["epochs"] // 2:
            self._begin(lambda: layer.opened.assign(1.0))  # or the few epochs that there are would train no network
        elif self._waited < self.patience:
            return
        elif self._gained and self._cuts < _MAX_CUTS:
            self._cuts += 1
            self._go_on(_number(self.model.optimizer.learning_rate) * _CUT)
            layer.opened.assign(float(is_open))
            layer.strength.assign(strength)
        elif not is_open and self._stage_gained and strength > 2 * min(STRENGTHS):
            self._begin(lambda: layer.strength.assign(strength / 10))
        elif not is_open and layer.has_network:
            self._begin(lambda: layer.opened.assign(1.0))
        else:
            self.model.stop_training = True

    def _layer(self) -> LinearFirst:
        layers = [each for each in self.model.layers if isinstance(each, LinearFirst)]
        if len(layers) != 1:
            raise InvalidModule(
                f"a model with LinearFirstSchedule has one layer LinearFirst, this one has {len(layers)}"
            )
        return layers[0]

    def _begin(self, stage: Callable[[], Any]) -> None:
        self._cuts, self._stage_gained = 0, False
        self._go_on(self.learning_rate)
        stage()

    def _go_on(self, learning_rate: float) -> None:
        """From the best weights, which hold the stage that they were found in."""
        self._waited, self._gained = 0, False
        self.model.set_weights(self._weights)
        self.model.optimizer.learning_rate = learning_rate


def _number(variable: Any) -> float:
    return float(keras.ops.convert_to_numpy(variable))  # float(variable) fails where each replica has one
