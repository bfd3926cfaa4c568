"""One training under one strategy: model, data, checkpoints, callbacks and logs brought together around the loop."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.heartbeats import FINISHING
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.callbacks import open_callbacks
from trainwright_components.training.configuration.settings import DEFAULT_MONITOR, ROLL_BACK, TrainingSettings
from trainwright_components.training.data.nan_inputs import find_nan_inputs
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.drivers.tf_keras_steps import save_with_the_chief
from trainwright_components.training.early_stopping import EarlyStopping
from trainwright_components.training.feeding import open_driver
from trainwright_components.training.loop import Interrupted, Loop, NotFinite, StepWatch
from trainwright_components.training.members.shutdown import leave_together
from trainwright_components.training.members.task_context import Place
from trainwright_components.training.module_check import check_data, check_kind, check_model
from trainwright_components.training.monitor import check_monitor, foresee_metrics
from trainwright_components.training.progress import ProgressLines
from trainwright_components.training.recovery.checkpoints import Checkpoint, CheckpointFolder
from trainwright_components.training.recovery.fingerprint import fingerprint_of
from trainwright_components.training.recovery.interruption import TERMINATED_EXIT_CODE, Interruption, catch_sigterm
from trainwright_components.training.recovery.roll_back import check_rate, find_way_back, roll_back
from trainwright_components.training.result import TrainingResult, record_of
from trainwright_components.training.strategies.choice import Choice
from trainwright_components.training.strategies.protocol import Spread
from trainwright_components.training.tensorboard_logs import TensorBoardLogs
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER, PREVIOUS_FOLDER, save_trained
from trainwright_components.training.unfinished import UNFINISHED_FILE, write_unfinished
from trainwright_components.user_module.keras_kind import is_tf_keras, set_random_seed
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)

OnEpochEnd = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A training in this process, once its strategy is there.

    Args:
        log_dir: Where TensorBoard logs go; none are written when absent.
        on_epoch_end: Called with the number of epochs done and their last metrics; returns True to stop.
        notes: What is worth saying about the settings.
        watch: Looks at the model after a step.
    """

    module: ModelModule
    context: Context
    settings: TrainingSettings
    output: Path
    place: Place
    choice: Choice
    distribution: "tf.distribute.Strategy"
    log_dir: Path | None = None
    on_epoch_end: OnEpochEnd | None = None
    notes: tuple[str, ...] = ()
    watch: StepWatch | None = None

    def run(self) -> TrainingResult:
        """Train from the newest checkpoint on, and save the model."""
        alone = self.place.cluster.is_empty  # else whoever started the members ends those that do not
        # from the start: TensorFlow took the signal when it made the strategy
        with catch_sigterm(self.module.location if alone else None) as interruption:
            return self._run(interruption)

    def _run(self, interruption: Interruption) -> TrainingResult:
        model, outputs = self._build_model()
        checkpoints = self._open_checkpoints()
        checkpoints.remove_leftovers()
        start = checkpoints.newest()
        driver, loop = self._assemble(model, outputs, checkpoints, start, interruption)
        first_step = start.step if start is not None else 0
        if start is not None:
            loop.position.course.resumed_at.append(start.step)
        logs = TensorBoardLogs(self.log_dir) if self.log_dir is not None and self.place.is_chief else None
        watch = _watcher(logs, self.on_epoch_end, lambda: loop.measurements())
        try:
            while error := self._train(loop, watch):
                cause = find_nan_inputs(self.module, self.context)
                failed, back = loop, find_way_back(error, loop, checkpoints, nan_inputs=cause)
                driver, loop = self._assemble(model, outputs, checkpoints, back, interruption)
                roll_back(error, failed, loop)
        except Exception:
            if self.place.is_chief:
                so_far = self._result(loop, resumed_at=first_step)
                settings, cluster = self.settings.to_mapping(), self.place.cluster.to_mapping()
                write_unfinished(so_far, self._fingerprint, settings=settings, cluster=cluster)
            raise
        finally:
            if logs is not None:
                logs.close()
        result = self._result(loop, resumed_at=first_step)
        if self.place.is_chief:
            self.place.sign_of_life(FINISHING, result.steps)
            self._save(model, result, driver.inputs)
        elif is_tf_keras(model):
            save_with_the_chief(model)
        if self.place.processes > 1:
            self._leave()
        return result

    def _leave(self) -> None:
        place = self.place
        others = [str(member) for member in place.cluster.members if not place.cluster.is_chief(member)]
        leave_together(others, name=str(place.member), is_chief=place.is_chief)

    @cached_property
    def _spread(self) -> Spread:
        return self.choice.strategy.spread(self.settings, replicas=self.context.replicas)

    def _build_model(self) -> "tuple[keras.Model, Any]":
        """The model, and what it put out for a few rows where it was tried."""
        set_random_seed(self.module.location, self.context.seed)
        strategy = self.choice.strategy
        with self.distribution.scope(), self._spread.variables():
            model = self.module.build_model(self.context)
            outputs = None
            if not strategy.takes_plain_batches:
                check_kind(self.module, model)
                check_data(self.module, model, self.context)
            elif self.place.cluster.is_empty or strategy.needs_all_variables:
                outputs = check_model(self.module, model, self.context)
            else:
                check_kind(self.module, model)  # the rest was checked before the cluster started
            if self.settings.jit_compile is not None:
                model.jit_compile = self.settings.jit_compile
        self._spread.apply(model)
        return model, outputs

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint_of(self.module, self.context, self.settings)

    def _open_checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(
            self.output / CHECKPOINTS_FOLDER,
            keep=self.settings.keep_checkpoints,
            fingerprint=self._fingerprint,
            is_writer=self.place.is_chief,
            previous=self.output / PREVIOUS_FOLDER,
        )

    def _assemble(
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
                processes=self.place.processes,
                is_chief=self.place.is_chief,
                first_step=first_step,
                workers=self.place.cluster.worker.replicas,
                spread=self._spread,
                outputs=outputs,
            )
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
                is_chief=self.place.is_chief,
            ),
            save=checkpoints.save,
            watch=self.watch,
            interruption=interruption,
            sign_of_life=self.place.sign_of_life,
            stopping=self._early_stopping(model, driver),
        )
        check_rate(model, self.settings)
        if start is not None:
            loop.restore(start)
        elif self.settings.on_nan == ROLL_BACK:
            loop.save_checkpoint()  # something to go back to from the first steps
        if self.place.is_chief:
            loop.lines = self._progress_lines(steps, first_step)
        return driver, loop

    def _train(self, loop: Loop, watch: OnEpochEnd) -> NotFinite | None:
        """Train to the end, or to the step where something was no number any more."""
        loop.watch_epoch = watch
        with self.module.user_code("training"):
            try:
                loop.run()
            except NotFinite as error:
                return error
            except Interrupted:
                logger.warning("asked to end: saved a checkpoint at step %d", loop.position.step)
                raise SystemExit(TERMINATED_EXIT_CODE) from None
            finally:
                loop.note_time()
        return None

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

    def _result(self, loop: Loop, *, resumed_at: int) -> TrainingResult:
        position, stopping = loop.position, loop.stopping
        kept = stopping.best_epoch if stopping is not None and stopping.best_weights else -1
        return TrainingResult(
            history=position.history,
            metrics=position.history[kept] if position.history else {},
            steps=position.step,
            seconds=position.seconds,
            model_folder=self.output,
            examples_per_second=position.step * self.settings.batch_size / max(position.seconds, 1e-9),
            strategy=self.choice.strategy.name,
            strategy_reason=self.choice.reason,
            replicas=self.context.replicas,
            stop_reason=position.stop_reason,
            resumed_at=resumed_at,
            course=position.course,
            notes=list(self.notes),
        )

    def _save(self, model: "keras.Model", result: TrainingResult, inputs: Any) -> None:
        record = record_of(result, settings=self.settings.to_mapping(), cluster=self.place.cluster.to_mapping())
        save_trained(self.output, model=model, module=self.module, context=self.context, training=record, inputs=inputs)
        (self.output / UNFINISHED_FILE).unlink(missing_ok=True)  # of a member that was lost


def _watcher(
    logs: TensorBoardLogs | None, on_epoch_end: OnEpochEnd | None, read_more: Callable[[], Mapping[str, float]]
) -> OnEpochEnd:
    def watch(epoch: int, metrics: Mapping[str, float]) -> bool:
        if logs is not None:
            logs.write(epoch, {**metrics, **read_more()})
        return on_epoch_end is not None and on_epoch_end(epoch, metrics)

    return watch
