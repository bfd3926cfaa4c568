"""Refuse, before a cluster with parameter servers starts, what is only right when steps take turns."""

from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.reader import read_split
from trainwright_components.errors import InvalidModule
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.keras_internals import build_variables, inner_optimizers, optimizers_of
from trainwright_components.user_module.keras_kind import is_tf_keras
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras

_ROWS = 8
_TOLERANCE = 1e-3
_INSTEAD = "use a synchronous strategy, such as multi_worker_mirrored"


def check_sharing(module: ModelModule, model: "keras.Model", context: Context, settings: TrainingSettings) -> None:
    """Try whether the compiled `model` can be trained by workers that do not wait for each other.

    Raises:
        InvalidModule: It was compiled with something that takes turns, or a metric is not a sum over batches.
    """
    import keras

    if is_tf_keras(model):
        raise InvalidModule(
            f"{module.location.name} is written for tf_keras, which trains here on one device, mirrored and "
            "multi_worker_mirrored; parameter servers need a model of Keras 3"
        )
    optimizers = [inner for optimizer in optimizers_of(model) for inner in inner_optimizers(optimizer)]
    reasons = {
        "run_eagerly": model.run_eagerly,
        "jit_compile=True": model.jit_compile if settings.jit_compile is None else settings.jit_compile,
        "gradient_accumulation_steps; a larger batch_size does the same": any(
            optimizer.gradient_accumulation_steps for optimizer in optimizers
        ),
        "loss scaling; mixed_bfloat16 needs none": any(
            isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in optimizers_of(model)
        ),
    }
    for name, is_used in reasons.items():
        if is_used:
            raise InvalidModule(
                f"parameter servers cannot train the model of {module.location.name}, which is compiled with {name}; "
                f"leave it out or {_INSTEAD}"
            )
    _check_metrics(module, model, context)


def _check_metrics(module: ModelModule, model: "keras.Model", context: Context) -> None:
    """Count two batches apart and together; Keras' own metrics are sums."""
    import numpy as np
    import tensorflow as tf

    from trainwright_components.training.drivers.shared_state import SharedState
    from trainwright_components.training.drivers.synchronous import symbols_of

    rows = module.make_dataset("train", context) if module.make_dataset else read_split(context.dataset, "train")
    batches = rows.repeat().batch(_ROWS).map(lambda *batch: (module.preprocess(batch[0], context), *batch[1:]))
    build_variables(model, symbols_of(batches.element_spec))
    users = [metric for metric in _each_metric(model) if not type(metric).__module__.startswith("keras.")]
    if not users:
        return
    state = SharedState(model)
    count = tf.function(lambda batch, counts: state.run(model.test_step, batch, counts)[0], autograph=False)
    with module.user_code("computing metrics"):
        first, second = batches.take(2)
        one, other = count(first, state.zeros()), count(second, state.zeros())
        both = count(second, one)
    sums = [left + right for left, right in zip(one, other, strict=True)]
    is_sum = {
        id(variable): np.allclose(together, total, rtol=_TOLERANCE, atol=_TOLERANCE**2)
        for variable, together, total in zip(state.counted, both, sums, strict=True)
    }
    for metric in users:
        if not all(is_sum.get(id(variable), True) for variable in metric.variables):
            raise InvalidModule(
                f"the metric {metric.name!r} of {module.location.name} is not a sum over batches, which parameter "
                f"servers need to count it exactly; let its variables only be added to, or {_INSTEAD}"
            )


def _each_metric(model: "keras.Model") -> list[Any]:
    return [part for metric in model.metrics for part in (metric, *getattr(metric, "metrics", ()))]
