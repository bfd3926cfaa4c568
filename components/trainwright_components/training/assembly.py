"""The parts of one training run, put together: model, data, checkpoints, callbacks."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.callbacks import open_callbacks
from trainwright_components.training.configuration.settings import DEFAULT_MONITOR, ROLL_BACK, TrainingSettings
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.early_stopping import EarlyStopping
from trainwright_components.training.feeding import open_driver
from trainwright_components.training.loop import Loop, StepWatch
from trainwright_components.training.module_check import check_data, check_kind, check_model
from trainwright_components.training.monitor import check_monitor, foresee_metrics
from trainwright_components.training.progress import ProgressLines
from trainwright_components.training.recovery.checkpoints import Checkpoint, CheckpointFolder
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.interruption import Interruption
from trainwright_components.training.roll_back import check_rate
from trainwright_components.training.strategies.choice import Choice
from trainwright_components.training.strategies.protocol import Spread
from trainwright_components.training.task_context import TaskContext
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER
from trainwright_components.user_module.keras_kind import set_random_seed
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)

OnEpochEnd = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a training run is made of, once its strategy is there.

    Args:
        watch: Looks at the model after a step.
        asked: Metrics that each epoch has to have, by the setting that names them.
    """

    module: ModelModule
    context: Context
    settings: TrainingSettings
    output: Path
    task: TaskContext
    choice: Choice
    distribution: "tf.distribute.Strategy"
    watch: StepWatch | None = None
    asked: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _spread(self) -> Spread:
        return self.choice.strategy.spread(self.settings, replicas=self.context.replicas)

    def build_model(self) -> "tuple[keras.Model, Any]":
        """The model, and what it put out for a few rows where it was tried."""
        set_random_seed(self.module.location, self.context.seed)
        strategy = self.choice.strategy
        with self.distribution.scope(), self._spread.variables():
            model = self.module.build_model(self.context)
            outputs = None
            if not strategy.takes_plain_batches:
                check_kind(self.module, model)
                check_data(self.module, model, self.context)
            elif self.task.cluster.is_empty or strategy.needs_all_variables:
                outputs = check_model(self.module, model, self.context)
            else:
                check_kind(self.module, model)  # the rest was checked before the cluster started
            if self.settings.jit_compile is not None:
                model.jit_compile = self.settings.jit_compile
        self._spread.apply(model)
        return model, outputs

    def identify(self, model: "keras.Model") -> Identity:
        return Identity.of_model(self.module, self.context, self.settings, model)

    def open_checkpoints(self, identity: Identity) -> CheckpointFolder:
        return CheckpointFolder(
            self.output / CHECKPOINTS_FOLDER,
            keep=self.settings.keep_checkpoints,
            identity=identity,
            is_writer=self.task.is_chief,
        )

    def assemble(
        self,
        model: "keras.Model",
        outputs: Any,
        checkpoints: CheckpointFolder,
        start: Checkpoint | None,
        interruption: Interruption,
    ) -> tuple[Driver, Loop]:
        first_step = start.step if start is not None else 0
        with self.module.user_code("reading the data"):
            driver, steps = open_driver(
                model,
                self.choice.strategy,
                self.distribution,
                self.module,
                self.context,
                self.settings,
                processes=self.task.processes,
                is_chief=self.task.is_chief,
                first_step=first_step,
                workers=self.task.cluster.worker.replicas,
                spread=self._spread,
                outputs=outputs,
            )
        self._check_asked(model, driver)
        loop = Loop(
            model=model,
            driver=driver,
            settings=self.settings,
            steps_per_epoch=steps,
            callbacks=open_callbacks(
                self.module,
                self.context,
                model,
                epochs=self.settings.epochs,
                steps=steps,
                is_chief=self.task.is_chief,
            ),
            save=checkpoints.save,
            watch=self.watch,
            interruption=interruption,
            send_heartbeat=self.task.send_heartbeat,
            stopping=self._early_stopping(model, driver),
        )
        check_rate(model, self.settings)
        if start is not None:
            identity = checkpoints.identity
            loop.restore(start, is_edited=not identity.is_begun_alike(start.identity))
            if (rate := identity.new_rate(start.identity)) is not None:
                model.optimizer.learning_rate = rate
        elif self.settings.on_nan == ROLL_BACK:
            loop.save_checkpoint()  # something to go back to from the first steps
        if self.task.is_chief:
            loop.lines = self._progress_lines(steps, first_step)
        return driver, loop

    def _check_asked(self, model: "keras.Model", driver: Driver) -> None:
        foreseen = foresee_metrics(self.module, model, has_validation=driver.has_validation) if self.asked else []
        for setting, metric in self.asked.items() if foreseen else ():
            check_monitor(metric, foreseen, setting=setting)

    def _early_stopping(self, model: "keras.Model", driver: Driver) -> EarlyStopping | None:
        patience, monitor = self.settings.early_stopping_patience, self.settings.monitor
        if patience is None and monitor == DEFAULT_MONITOR:
            return None
        if monitor.startswith("val_") and not driver.has_validation:
            raise InvalidSetting(
                f"training.monitor {monitor} needs a validation split, and there is none; set monitor to loss"
            )
        if foreseen := foresee_metrics(self.module, model, has_validation=driver.has_validation):
            check_monitor(monitor, foreseen)
        return EarlyStopping(monitor=monitor, patience=patience) if patience is not None else None

    def _progress_lines(self, steps_per_epoch: int, first_step: int) -> ProgressLines:
        if first_step:
            logger.info("going on from the checkpoint at step %d", first_step)
        return ProgressLines(
            epochs=self.settings.epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=self.settings.batch_size,
            every_s=self.settings.progress_every_s,
            step=first_step,
        )
