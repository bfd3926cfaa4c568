"""All that training uses of Keras beyond its public interface, in one place.

A Keras that lacks a part is refused by name before anything runs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trainwright_components.errors import TrainingFailed
from trainwright_components.training.patching import patched_attribute
from trainwright_components.user_module.keras_kind import keras_of

if TYPE_CHECKING:
    import keras

CHECKED = ("3.12", "3.15")  # the oldest and the newest release that all of this was tried with

_SCALING = ("scale_loss_for_distribution", "unscale_loss_for_distribution")
_REDUCTION = "reduce_weighted_values"
_OF_MODELS = ("_symbolic_build", "_flatten_layers")
_OF_LAYERS = ("_trainable_variables", "_non_trainable_variables", "_seed_generators")
_OF_OPTIMIZERS = ("_all_reduce_sum_gradients", "apply", "scale_loss")

Reduce = Callable[..., Any]


class Meeting(Protocol):
    """How what replicas compute comes together around one optimizer."""

    def weigh(self, loss: Any) -> Any:
        """The replica's part of the loss of the global batch; Keras' own train_step asks for it, others may not."""

    def combine(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Gradients of the global batch."""


def check_keras() -> None:
    """Refuse a Keras that lacks what this module uses.

    Raises:
        TrainingFailed: It does; the message says which part.
    """
    import keras
    from keras.src.losses import loss
    from keras.src.optimizers import base_optimizer

    wanted = [
        *((loss, "keras.src.losses.loss", name) for name in (*_SCALING, _REDUCTION)),
        (base_optimizer, "keras.src.optimizers.base_optimizer", "ops"),
        *((keras.Model, "keras.Model", name) for name in _OF_MODELS),
        *((keras.layers.Layer(), "keras.Layer", name) for name in _OF_LAYERS),
        (keras.Variable, "keras.Variable", "_direct_assign"),
        *((keras.optimizers.Optimizer, "keras.optimizers.Optimizer", name) for name in _OF_OPTIMIZERS),
    ]
    missing = [f"{where}.{name}" for holder, where, name in wanted if not hasattr(holder, name)]
    if "_value" not in keras.Variable.__init__.__code__.co_names:  # none is made: TensorFlow may not be set up yet
        missing.append("keras.Variable._value")
    if missing:
        raise TrainingFailed(
            f"Keras {keras.__version__} has no {', '.join(missing)}, which training relies on; "
            f"install a version that it was tried with: pip install 'keras~={CHECKED[-1]}.0'"
        )


def build_variables(model: "keras.Model", batch: Any) -> None:
    """Make all variables of model, loss, metrics and optimizer for symbolic `batch`, as `fit` does before it starts."""
    model._symbolic_build(data_batch=batch)


def state_variables(model: "keras.Model") -> list[Any]:
    """Variables that layers change as they are called, such as BatchNorm's averages; no frozen weights."""
    return [variable for layer in model._flatten_layers() for variable in layer._non_trainable_variables]


def stateful_layers(model: "keras.Model") -> list[Any]:
    """Layers that change variables while they compute: those of `state_variables`, and those that draw numbers."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer._non_trainable_variables or (layer._seed_generators and getattr(layer, "dropout", 1))
    ]


def axis_of_classes(loss: Any) -> int:
    """Along which axis of an output the classes of a loss are; -1 is the last."""
    return int(getattr(loss, "_fn_kwargs", {}).get("axis", -1))


@contextmanager
def kept_apart(variables: Iterable[Any]) -> Iterator[None]:
    """Have each replica write only its own value: TensorFlow 2.21 would add up sums that Keras has made."""
    import tensorflow as tf

    with ExitStack() as stack:
        for variable in variables:
            stack.enter_context(patched_attribute(variable.value, "_aggregation", tf.VariableAggregation.NONE))
        yield


def stored_value(variable: "keras.Variable") -> Any:
    """What `variable` holds, whatever scope stands before it."""
    return variable._value


def store_value(variable: "keras.Variable", value: Any) -> None:
    """Have `variable` hold `value`, whatever scope stands before it."""
    variable._direct_assign(value)


def layers_of(model: "keras.Model") -> list["keras.Layer"]:
    """All layers of a model, those within others too."""
    layers: list[keras.Layer] = list(model._flatten_layers(include_self=False))
    return layers


def move_variables(layer: "keras.Layer", device: str) -> None:
    """Put a layer's own variables on a device, where they are not there already."""
    import tensorflow as tf

    for variable in layer._trainable_variables + layer._non_trainable_variables:
        if not variable.value.device.endswith(device):
            with tf.device(device):
                variable._value = tf.Variable(variable.value, trainable=variable.trainable, name=variable.name)


def optimizers_of(model: "keras.Model") -> list[Any]:
    """The compiled optimizer first, then those that the model holds in attributes, each once."""
    package = keras_of(model)
    kinds = (package.optimizers.Optimizer, package.mixed_precision.LossScaleOptimizer)
    held: list[Any] = [model.optimizer]
    for value in vars(model).values():
        held += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return list({id(one): one for one in held if isinstance(one, kinds)}.values())


def inner_optimizers(optimizer: Any) -> Iterable[Any]:
    """`optimizer` and those that it wraps."""
    yield optimizer
    inner = getattr(optimizer, "inner_optimizer", None)
    for one in [inner] if inner is not None else getattr(optimizer, "optimizers", ()):
        yield from inner_optimizers(one)


@contextmanager
def reduced_by(reduce: Callable[[Reduce], Reduce]) -> Iterator[None]:
    """Have losses not divided by the number of replicas, and reduced by what `reduce` makes of Keras' own reduction."""
    from keras.src.losses import loss

    with ExitStack() as stack:
        for name in _SCALING:
            stack.enter_context(patched_attribute(loss, name, _unchanged))
        stack.enter_context(patched_attribute(loss, _REDUCTION, reduce(getattr(loss, _REDUCTION))))
        yield


@contextmanager
def meeting(optimizers: Iterable[Any], meeting: Meeting) -> Iterator[None]:
    """Have losses and gradients pass through `meeting` before an optimizer scales, clips or accumulates gradients.

    What an optimizer does only at some steps works over replicas too, which it does not in Keras 3.15.
    """
    from keras.src.optimizers import base_optimizer

    with ExitStack() as stack:
        stack.enter_context(patched_attribute(base_optimizer, "ops", _OpsOverReplicas()))
        for optimizer in optimizers:
            stack.enter_context(patched_attribute(optimizer, "apply", _combined(optimizer.apply, meeting)))
            stack.enter_context(patched_attribute(optimizer, "scale_loss", _weighed(optimizer.scale_loss, meeting)))
            for one in inner_optimizers(optimizer):
                stack.enter_context(patched_attribute(one, "_all_reduce_sum_gradients", list))
        yield


class _OpsOverReplicas:
    """`keras.ops`, but a condition is taken once for all replicas: only there TensorFlow lets them meet in a branch."""

    def __getattr__(self, name: str) -> Any:
        import keras

        return getattr(keras.ops, name)

    def cond(self, condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> None:
        import tensorflow as tf

        def meet(strategy: Any, condition: Any, when_true: Any, when_false: Any) -> None:
            def on_each(branch: Any) -> Callable[[], None]:
                def run() -> None:
                    strategy.extended.call_for_each_replica(lambda own: own(), args=(branch,))

                return run

            first = strategy.experimental_local_results(condition)[0]
            tf.cond(first, on_each(when_true), on_each(when_false))

        context = tf.distribute.get_replica_context()
        context.merge_call(meet, args=(condition, when_true, when_false))


def each_metric(metrics: Iterable[Any]) -> Iterator[Any]:
    """`metrics` and those that they hold, which come first."""
    for metric in metrics:
        yield from each_metric(getattr(metric, "metrics", ()))
        yield metric


@contextmanager
def weighing_means(weigh: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Have Keras' means and sums count their values with `weigh(values, sample_weight)` in place of `sample_weight`."""
    import keras

    with ExitStack() as stack:
        for kind in (keras.metrics.Mean, keras.metrics.Sum):
            stack.enter_context(patched_attribute(kind, "update_state", _weighing(kind.update_state, weigh)))
        yield


def _weighing(update: Callable[..., Any], weigh: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def update_state(metric: Any, values: Any, sample_weight: Any = None) -> Any:
        return update(metric, values, weigh(values, sample_weight))

    return update_state


def _combined(apply: Callable[..., Any], meeting: Meeting) -> Callable[..., Any]:
    def combine_and_apply(gradients: Sequence[Any], trainable_variables: Any = None) -> Any:
        return apply(meeting.combine(gradients), trainable_variables)

    return combine_and_apply


def _weighed(scale_loss: Callable[[Any], Any], meeting: Meeting) -> Callable[[Any], Any]:
    return lambda loss: scale_loss(meeting.weigh(loss))


def _unchanged(value: Any) -> Any:
    return value
