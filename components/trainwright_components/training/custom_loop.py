"""A module's own `train(context)` instead of the loop; resume, equal batches, early stopping are its business then."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.heartbeats import JOINED
from trainwright_components.errors import InvalidModule
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.feeding import open_driver
from trainwright_components.training.module_check import check_is_model
from trainwright_components.training.recovery.previous import PREVIOUS_FOLDER
from trainwright_components.training.result import TrainingResult, record_of
from trainwright_components.training.strategies.one_device import OneDevice
from trainwright_components.training.task_context import TaskContext
from trainwright_components.training.trained_model import OWN_LOOP, save_trained
from trainwright_components.user_module.keras_kind import is_compiled, set_random_seed
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def run_custom_loop(
    train: "Callable[[Context], keras.Model]",
    module: ModelModule,
    context: Context,
    output: Path,
    settings: TrainingSettings,
    task: TaskContext,
) -> TrainingResult:
    """Call `train`, score its model on the validation split if it is compiled, and save it.

    Raises:
        InvalidModule: It returned no model of Keras, or one without weights.
        UserCodeError: It raised.
    """
    import tensorflow as tf

    started = time.monotonic()
    set_random_seed(module.location, context.seed)
    task.send_heartbeat(JOINED)
    if context.log_dir is not None:
        context.log_dir.mkdir(parents=True, exist_ok=True)  # a pipeline expects it, also when nothing is logged
    model = train(context)
    check_is_model(module, model, "train")
    if not model.built:
        raise InvalidModule(f"train of {module.location.name} returned a model that was never called, nor trained")
    metrics: dict[str, float] = {}
    inputs: Any = None
    notes: list[str] = []
    if not is_compiled(model):
        notes.append(f"train of {module.location.name} returned a model that is not compiled: it has no metrics here")
        logger.warning(notes[0])
    elif len(task.cluster.members) <= 1:
        driver, _ = open_driver(model, OneDevice(), tf.distribute.get_strategy(), module, context, settings)
        inputs = driver.inputs
        metrics = {f"val_{name}": value for name, value in driver.evaluate().items()}
    result = TrainingResult(
        history=[metrics] if metrics else [],
        metrics=metrics,
        steps=int(model.optimizer.iterations.numpy()) if is_compiled(model) else 0,
        notes=notes,
        seconds=time.monotonic() - started,
        model_folder=output,
        strategy=OWN_LOOP,
        strategy_reason=f"{module.location.name} has its own train(context)",
    )
    if task.is_chief:
        record = record_of(result, settings=settings.to_mapping(), cluster=task.cluster.to_mapping())
        save_trained(output, model=model, module=module, context=context, training=record, inputs=inputs)
        shutil.rmtree(output / PREVIOUS_FOLDER, ignore_errors=True)  # it saves no checkpoints, but this model
    return result
