"""Model parallelism by sharded variables: parts of chosen weights on several devices, with TensorFlow's DTensor.

Keras 3 does not know DTensor, but its layers, losses, metrics and optimizers work on DTensor's variables when these are
made in place of its own. Two things would make TensorFlow 2.21 compute wrong numbers and say nothing: a value that is
assigned in another layout than the variable's, and its combining of reductions that follow each other.
"""

import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import nearest

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from numpy.typing import NDArray

_DIMENSION = "shard"
_MOST_NAMES = 12
_COMBINE_VARIABLE = "DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION"


@dataclass(kw_only=True)
class VariableSharding:
    """Weights in parts over devices.

    Args:
        devices: Such as `CPU:0`; each holds one part of a sharded weight and all of the others.
        axes: By patterns of the ends of weights' paths the axis that is cut, as in `{"dense/kernel": 1}`.
    """

    devices: list[str]
    axes: Mapping[str, int]
    _made: dict[str, int | None] = field(default_factory=dict)

    @functools.cached_property
    def mesh(self) -> Any:
        """The devices as DTensor's mesh of one dimension."""
        from tensorflow.experimental import dtensor

        os.environ[_COMBINE_VARIABLE] = "0"
        return dtensor.create_mesh([(_DIMENSION, len(self.devices))], devices=self.devices)

    def apply(self, model: "keras.Model") -> None:
        """Leave the model as it is: its driver checks it, once all its variables are there."""

    @contextmanager
    def variables(self) -> Iterator[None]:
        """Within, variables are made on the mesh: of the model, and of its optimizer and metrics."""
        import tensorflow as tf

        def create(_: Callable[..., Any], **options: Any) -> Any:
            value = options["initial_value"]
            value = tf.convert_to_tensor(value() if callable(value) else value, dtype=options.get("dtype"))
            path = f"{tf.get_current_name_scope()}/{options.get('name')}"
            axis = self._axis_of(path, value.shape)
            self._made[path] = axis
            sharded = self.relayout(self.replicate(value), axis)
            variable = _variable_class()(sharded, trainable=options.get("trainable"), name=options.get("name"))
            variable.sharding, variable.axis = self, axis
            return variable

        with tf.variable_creator_scope(create):
            yield

    def check_all_found(self, weights: Collection[str]) -> None:
        """Refuse a pattern that fits no variable; `weights` are the paths of the model's own."""
        for pattern in self.axes:
            if not any(_fits(path, pattern) for path in self._made):
                raise InvalidSetting(f"training.layout: no weight is called {pattern!r}; {_known(pattern, weights)}")

    def replicate(self, value: Any) -> "tf.Tensor":
        """`value` whole on each device."""
        import tensorflow as tf
        from tensorflow.experimental import dtensor

        value = tf.convert_to_tensor(value)
        return dtensor.copy_to_mesh(value, dtensor.Layout.replicated(self.mesh, rank=value.shape.rank))

    def relayout(self, value: "tf.Tensor", axis: int | None) -> "tf.Tensor":
        """`value`, which is on the mesh, cut along `axis`, or whole on each device."""
        from tensorflow.experimental import dtensor

        dimensions = [dtensor.UNSHARDED] * value.shape.rank
        if axis is not None:
            dimensions[axis] = _DIMENSION
        return dtensor.relayout(value, dtensor.Layout(dimensions, self.mesh))

    def _axis_of(self, path: str, shape: "tf.TensorShape") -> int | None:
        """As asked for; an optimizer's variable is cut like the weight that it is named after."""
        for pattern, axis in self.axes.items():
            if _fits(path, pattern):
                self._check_axis(path, shape, axis)
                return axis
        name = path.rpartition("/")[2]
        weights = [made for made in self._made if name.startswith(f"{made.replace('/', '_')}_")]
        return self._made[max(weights, key=len)] if weights and shape.rank else None

    def _check_axis(self, path: str, shape: "tf.TensorShape", axis: int) -> None:
        if axis >= shape.rank or shape[axis] % len(self.devices):
            raise InvalidSetting(
                f"training.layout: {path} of shape {tuple(shape)} cannot be cut along axis {axis} into "
                f"{len(self.devices)} equal parts"
            )


def _known(pattern: str, weights: Collection[str]) -> str:
    parts = pattern.count("/") + 1
    ends = ["/".join(path.split("/")[-parts:]) for path in weights]
    if near := nearest(pattern, ends):
        return f"did you mean {near!r}?"
    more = f" and {len(weights) - _MOST_NAMES} more" if len(weights) > _MOST_NAMES else ""
    return f"there are {', '.join(list(weights)[:_MOST_NAMES])}{more}"


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(f"/{path}", f"*/{pattern}")


@functools.cache
def _variable_class() -> type[Any]:
    from tensorflow.experimental import dtensor

    class ShardedVariable(dtensor.DVariable):  # type: ignore[misc]  # TensorFlow has no types
        """Takes values of any layout, and gives its whole value to whoever asks for an array."""

        sharding: VariableSharding
        axis: int | None

        def numpy(self) -> "NDArray[Any]":
            whole: NDArray[Any] = self.sharding.relayout(self.read_value(), None).numpy()
            return whole

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> "NDArray[Any]":
            return self.numpy() if dtype is None else self.numpy().astype(dtype)

        def assign(self, value: Any, **options: Any) -> Any:
            return super().assign(self._fitting(value), **options)

        def assign_add(self, delta: Any, **options: Any) -> Any:
            return super().assign_add(self._fitting(delta), **options)

        def assign_sub(self, delta: Any, **options: Any) -> Any:
            return super().assign_sub(self._fitting(delta), **options)

        def _fitting(self, value: Any) -> Any:
            import tensorflow as tf

            value = tf.convert_to_tensor(value, dtype=self.dtype)
            if tf.executing_eagerly() and not hasattr(value, "layout"):
                value = self.sharding.replicate(value)
            return self.sharding.relayout(value, self.axis)

    return ShardedVariable
