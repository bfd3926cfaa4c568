"""Bring rows, order and strategy together: the driver that trains a model on the splits of a dataset."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.data.batches import (
    Order,
    Rows,
    RowsInMemory,
    Sharing,
    count_steps,
    endless_batches,
)
from trainwright_components.training.data.class_weights import class_weighting
from trainwright_components.training.data.labels import LabelCheck, output_symbols
from trainwright_components.training.data.splits import TRAIN, VALIDATION, has_split, name_split, open_split
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.drivers.feed import Feed, MakeBatches, Passes
from trainwright_components.training.strategies.protocol import Spread, Strategy, Unspread
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)


def open_driver(
    model: "keras.Model",
    strategy: Strategy,
    distribution: "tf.distribute.Strategy",
    module: ModelModule,
    context: Context,
    settings: TrainingSettings,
    *,
    processes: int = 1,
    is_chief: bool = True,
    first_step: int = 0,
    workers: int = 0,
    spread: Spread | None = None,
    outputs: Any = None,
) -> tuple[Driver, int]:
    """The driver that begins with step `first_step`, and the steps in an epoch.

    `outputs` is what the model puts out, where it has been called; labels are checked against it.

    `processes` members take each step together; with parameter servers `workers` take steps by themselves. `spread` is
    what the strategy made the model's variables under.
    """
    module = module.for_model(model)
    order = Order(
        batch_size=settings.batch_size,
        seed=settings.seed if settings.shuffle else None,
        shuffle_buffer=settings.shuffle_buffer,
        drop_remainder=settings.drop_remainder,
    )
    rows = open_split(TRAIN, module, context)
    steps = count_steps(rows, order, split=TRAIN, at_most=settings.steps_per_epoch)
    validation = open_split(VALIDATION, module, context) if has_split(VALIDATION, module, context) else None
    if strategy.has_fixed_shapes:
        check_fixed_shapes(strategy.name, settings, distribution.num_replicas_in_sync)
    stored = Order(batch_size=settings.batch_size, drop_remainder=strategy.has_fixed_shapes)
    weigh = class_weighting(settings.class_weights, context.schema) if settings.class_weights else None
    outputs = output_symbols(model) if outputs is None else outputs

    def check(split: str, rows: Rows) -> Callable[[Any], Any] | None:
        if outputs is None:
            return None
        labels = LabelCheck(model=model, outputs=outputs, source=name_split(split, module))
        if not isinstance(rows, RowsInMemory):
            return labels.within_graph
        for label in rows.columns[1:2]:
            labels.refuse_unusable(label)
        return None

    train_batches = _feed(rows, order, module, context, first_step=first_step, weigh=weigh, check=check(TRAIN, rows))
    validation_batches = None
    if validation is not None:
        validation_batches = _feed(validation, stored, module, context, check=check(VALIDATION, validation))
    validation_steps = 0 if validation is None else count_steps(validation, stored, split=VALIDATION)
    passes = None if rows.count is None else Passes(full=rows.count // order.batch_size, steps=order.steps(rows.count))
    feed = Feed(
        train_batches=train_batches,
        validation_batches=validation_batches,
        validation_steps=validation_steps,
        batch_size=settings.batch_size,
        passes=passes,
        first_step=first_step,
        processes=processes,
        is_chief=is_chief,
        workers=workers,
    )
    return strategy.make_driver(model, distribution, feed, spread or Unspread()), steps


def check_fixed_shapes(strategy: str, settings: TrainingSettings, cores: int) -> None:
    """Refuse batches of changing shape where one shape is compiled.

    Raises:
        InvalidSetting: Partial batches, or a batch that `cores` replicas cannot share equally.
    """
    if not settings.drop_remainder or settings.batch_size % cores:
        raise InvalidSetting(
            f"training.strategy {strategy} needs shares of one size: set training.drop_remainder, and a "
            f"training.batch_size that its {cores} cores divide; got {settings.batch_size}"
        )
    logger.warning("%s: the last partial batch of the validation split is left out", strategy)


def _feed(
    rows: Rows,
    order: Order,
    module: ModelModule,
    context: Context,
    *,
    first_step: int = 0,
    weigh: Callable[[Any], Any] | None = None,
    check: Callable[[Any], Any] | None = None,
) -> MakeBatches:
    def transform(batch: Any) -> Any:
        features, *rest = batch
        if check is not None and rest:
            rest[0] = check(rest[0])
        data = (module.preprocess(features, context), *rest)
        return data if weigh is None else weigh(data)

    def make(pipeline: "tf.distribute.InputContext") -> "tf.data.Dataset":
        replicas = pipeline.num_replicas_in_sync
        local = replicas // pipeline.num_input_pipelines
        sharing = Sharing(replicas=replicas, first=pipeline.input_pipeline_id * local, local=local)
        return endless_batches(rows, order, sharing, transform=transform, first_step=first_step)

    return make
