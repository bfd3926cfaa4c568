"""Train a model module on a prepared dataset in this process."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.datasets.reader import read_split
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.model_module import Context, ModelModule, resolve_params
from trainwright_components.training.module_check import check_model
from trainwright_components.training.settings import TrainingSettings
from trainwright_components.training.trained_model import save_trained

logger = logging.getLogger(__name__)

OnEpochEnd = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Args:
        history: The metrics of each epoch.
        metrics: The metrics of the weights that were kept.
        steps: Optimizer steps.
    """

    history: list[dict[str, float]]
    metrics: dict[str, float]
    steps: int
    seconds: float
    model_folder: Path


def run_training(
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    log_dir: Path | None = None,
    on_epoch_end: OnEpochEnd | None = None,
) -> TrainingResult:
    """Train on the `train` split, validate on `validation`, and write the folder of the trained model to `output`.

    Args:
        params: Overrides of the module's `DEFAULT_PARAMS`.
        log_dir: Where TensorBoard logs go; none are written when absent.
        on_epoch_end: Called with the number of epochs done and their last metrics; returns True to stop.
    """
    import keras

    settings = settings or TrainingSettings()
    context = Context(
        params=resolve_params(module, params or {}),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    started = time.monotonic()
    keras.utils.set_random_seed(settings.seed)
    model = module.build_model(context)
    check_model(module, model, context)

    def batches(split: str) -> Any:
        rows = read_split(dataset, split).cache()
        if split == "train":
            rows = rows.shuffle(settings.shuffle_buffer, seed=settings.seed)
        return rows.batch(settings.batch_size).map(lambda x, *rest: (module.preprocess(x, context), *rest)).prefetch(2)

    class Hook(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logger.info("epoch %d/%d %s", epoch + 1, settings.epochs, logs)
            if on_epoch_end is not None and on_epoch_end(epoch + 1, logs or {}):
                self.model.stop_training = True

    fitted = model.fit(
        batches("train"), validation_data=batches("validation"), epochs=settings.epochs, callbacks=[Hook()], verbose=0
    )
    names = list(fitted.history)
    history = [
        dict(zip(names, map(float, values), strict=True)) for values in zip(*fitted.history.values(), strict=True)
    ]
    output.mkdir(parents=True, exist_ok=True)
    steps = int(model.optimizer.iterations.numpy())
    seconds = time.monotonic() - started
    record = {
        "settings": settings.to_mapping(),
        "history": history,
        "metrics": history[-1],
        "steps": steps,
        "seconds": seconds,
    }
    save_trained(output, model=model, module=module, context=context, training=record)
    return TrainingResult(history=history, metrics=history[-1], steps=steps, seconds=seconds, model_folder=output)
