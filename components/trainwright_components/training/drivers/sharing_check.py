"""Refuse, before a cluster with parameter servers starts, what is only right when steps take turns."""

import functools
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.data.splits import TRAIN, VALIDATION, first_batch, has_split
from trainwright_components.training.drivers.adding import check_adding, metrics_to_try
from trainwright_components.training.keras_internals import build_variables, inner_optimizers, optimizers_of
from trainwright_components.user_module.keras_kind import is_tf_keras
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras

_INSTEAD = "use a synchronous strategy, such as multi_worker_mirrored"


def check_sharing(module: ModelModule, model: "keras.Model", context: Context, settings: TrainingSettings) -> None:
    """Try whether the compiled `model` can be trained by workers that do not wait for each other.

    Raises:
        InvalidModule: It was compiled with something that takes turns, or a metric does not only add.
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
    """Take a step of each kind on its first batch, where the model has metrics that are not Keras' own."""
    import keras
    import tensorflow as tf

    def symbol(column: Any) -> Any:
        return keras.KerasTensor((None, *column.shape[1:]), column.dtype.name)

    def batch_of(split: str) -> Any:
        features, *rest = first_batch(split, module, context)
        return (module.preprocess(features, context), *rest)

    build_variables(model, tf.nest.map_structure(symbol, batch_of(TRAIN)))
    metrics = metrics_to_try(model)
    for split, step in {TRAIN: model.train_step, VALIDATION: model.test_step}.items() if metrics else ():
        if has_split(split, module, context):
            take_step = functools.partial(tf.function(step, autograph=False), batch_of(split))
            with module.user_code("computing metrics"):
                check_adding(model, metrics, take_step)
