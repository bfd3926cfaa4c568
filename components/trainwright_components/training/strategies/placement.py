"""Model parallelism by layers: the variables and operations of chosen layers on devices of their choice.

Variables are made on their device, and updated there. Operations follow the name scope in which a layer was called;
TensorFlow names those of the backward pass after it, and without this would run them all on the first device.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.devices import check_devices
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.keras_internals import layers_of, move_variables
from trainwright_components.training.strategies.one_device import OneDevice
from trainwright_components.training.strategies.protocol import Spread, Strategy, reason_to_spread, require_setting

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_BACKWARD = "gradient_tape/"


class Placement(OneDevice):
    """One device for what is not placed, and others for layers that are."""

    name = "placement"
    takes_tf_keras = False
    needs_all_variables = True

    def check(self, settings: TrainingSettings, cluster: ClusterSpec) -> None:
        """Refuse to place nothing."""
        super().check(settings, cluster)
        require_setting(self.name, settings, "placement", example='{"block_2_*": "GPU:1"}')

    def reason(self, settings: TrainingSettings, cluster: ClusterSpec) -> str:
        """Layers with devices."""
        return reason_to_spread(settings, cluster, "placement")

    def make(self, settings: TrainingSettings) -> "tf.distribute.Strategy":
        """That of one device, once the others are known to be there."""
        check_devices(settings.placement.values(), where="training.placement")
        return super().make(settings)

    def spread(self, settings: TrainingSettings, *, replicas: int) -> Spread:
        """Layers on their devices."""
        return LayerPlacement(devices=settings.placement)

    def plan(self, settings: TrainingSettings) -> tuple[str, ...]:
        """The first device, and those of placed layers."""
        check_devices(settings.placement.values(), where="training.placement")
        return tuple(dict.fromkeys([*super().plan(settings), *settings.placement.values()]))


@dataclass(kw_only=True)
class LayerPlacement:
    """Layers on devices.

    Args:
        devices: Devices such as `GPU:1` by patterns of layer names, as in `{"block_2_*": "GPU:1"}`; a layer within a
            placed one goes along with it.
    """

    devices: Mapping[str, str]
    _scopes: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def variables(self) -> Iterator[None]:
        """Within, variables are made on the devices of their layers."""
        import tensorflow as tf

        def create(next_creator: Callable[..., Any], **options: Any) -> Any:
            with tf.device(self._device_of(tf.get_current_name_scope())):
                return next_creator(**options)

        with tf.variable_creator_scope(create):
            yield

    def apply(self, model: "keras.Model") -> None:
        """Have `model`, which has all its layers' variables, train and test with its layers on their devices.

        Raises:
            InvalidSetting: A pattern that fits no layer, no such device, or a model that TensorFlow cannot place.
        """
        _refuse_unplaceable(model)
        model.jit_compile = False  # XLA compiles for one device
        layers = {layer: self._device_of(layer.name) for layer in layers_of(model)}
        self._check_patterns([layer.name for layer in layers])
        for layer, device in layers.items():
            if device:
                move_variables(layer, device)  # those of a layer that was built by its first call are not there yet
                layer.call = self._on_device(layer.call, device)
        for optimizer in (model.optimizer, getattr(model.optimizer, "inner_optimizer", None)):
            if optimizer is not None:
                optimizer.update_step = _beside_variable(optimizer.update_step)
        model.train_step = self._placed(model.train_step)
        model.test_step = self._placed(model.test_step)

    def _device_of(self, scope: str) -> "str | None":
        for name in reversed(scope.split("/")):
            for pattern, device in self.devices.items():
                if fnmatchcase(name, pattern):
                    return device
        return None

    def _check_patterns(self, names: list[str]) -> None:
        for pattern in self.devices:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InvalidSetting(
                    f"training.placement: no layer is called {pattern!r}; there are {', '.join(names)}"
                )

    def _on_device(self, call: Callable[..., Any], device: str) -> Callable[..., Any]:
        import tensorflow as tf

        @functools.wraps(call)
        def placed(*args: Any, **options: Any) -> Any:
            self._scopes[tf.get_current_name_scope()] = f"/device:{device}"
            with tf.device(device):
                return call(*args, **options)

        return placed

    def _placed(self, step: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        @functools.wraps(step)
        def placed(*args: Any) -> Any:
            with tf.compat.v1.device(self._device_of_operation):  # tf.device takes no function
                return step(*args)

        return placed

    def _device_of_operation(self, operation: "tf.Operation") -> str:
        if operation.device:
            return str(operation.device)
        scope, _, _ = _full_name(operation).partition(_BACKWARD)[2].rpartition("/")
        while scope:
            if scope in self._scopes:
                return self._scopes[scope]
            scope, _, _ = scope.rpartition("/")
        return ""


def _full_name(operation: "tf.Operation") -> str:
    """The name with the scopes of the graphs around it: a loop's body is a graph of its own."""
    name, graph = str(operation.name), getattr(operation.graph, "outer_graph", None)
    while graph is not None:
        name, graph = f"{graph.get_name_scope()}/{name}", getattr(graph, "outer_graph", None)
    return name


def _beside_variable(update: Callable[..., Any]) -> Callable[..., Any]:
    import keras
    import tensorflow as tf

    @functools.wraps(update)
    def placed(gradient: Any, variable: Any, *args: Any) -> Any:
        with tf.device((variable.value if isinstance(variable, keras.Variable) else variable).device):
            return update(gradient, variable, *args)

    return placed


def _refuse_unplaceable(model: "keras.Model") -> None:
    if model.run_eagerly:
        raise InvalidSetting(
            "training.placement needs a graph to place the backward pass; compile the model without run_eagerly"
        )
    if model.jit_compile is True:
        raise InvalidSetting(
            "training.placement: XLA compiles for one device; set jit_compile to false or leave it out"
        )


if TYPE_CHECKING:
    _: type[Strategy] = Placement
