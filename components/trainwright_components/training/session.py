"""A training run from its newest checkpoint to the saved model, with what follows when it fails or is asked to end."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.heartbeats import FINISHING
from trainwright_components.training.assembly import Assembly
from trainwright_components.training.data.nan_inputs import find_nan_inputs
from trainwright_components.training.drivers.tf_keras_steps import save_with_the_chief
from trainwright_components.training.loop import Interrupted, Loop, NotFinite
from trainwright_components.training.recovery.checkpoints import Checkpoint, CheckpointFolder
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.interruption import TERMINATED_EXIT_CODE, Interruption, catch_sigterm
from trainwright_components.training.recovery.previous import PREVIOUS_FOLDER
from trainwright_components.training.result import TrainingResult, record_of
from trainwright_components.training.roll_back import find_way_back, roll_back
from trainwright_components.training.same_start import check_same_start
from trainwright_components.training.shutdown import meet, shut_down_together, take_from_chief
from trainwright_components.training.tensorboard_logs import TensorBoardLogs
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER, save_trained
from trainwright_components.training.unfinished import UNFINISHED_FILE, write_unfinished
from trainwright_components.user_module.keras_kind import is_tf_keras

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

OnEpochEnd = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A training run in this process.

    Args:
        log_dir: Where TensorBoard logs go; none are written when absent.
        on_epoch_end: Called with the number of epochs done and their last metrics; returns True to stop.
        notes: What is worth saying about the settings.
    """

    parts: Assembly
    log_dir: Path | None = None
    on_epoch_end: OnEpochEnd | None = None
    notes: tuple[str, ...] = ()

    def run(self) -> TrainingResult:
        """Train from the newest checkpoint on, and save the model."""
        alone = self.parts.task.cluster.is_empty  # else whoever started the members ends those that do not
        # from the start: TensorFlow took the signal when it made the strategy
        with catch_sigterm(self.parts.module.location if alone else None) as interruption:
            return self._run(interruption)

    def _run(self, interruption: Interruption) -> TrainingResult:
        model, outputs = self.parts.build_model()
        checkpoints = self.parts.open_checkpoints(self._identify(model))
        aside = checkpoints.tidy()
        start = checkpoints.newest()
        if self.parts.task.processes > 1:
            meet("found a checkpoint")  # before anyone writes one
        self._check_start(start, 0)
        for one in aside if start is None else ():
            logger.warning("%s", one)
        driver, loop = self.parts.assemble(model, outputs, checkpoints, start, interruption)
        first_step = start.step if start is not None else 0
        if start is not None:
            loop.position.timeline.resumed_at.append(start.step)
            self._note_changes(loop, checkpoints, start)
        logs = TensorBoardLogs(self.log_dir) if self.log_dir is not None and self.parts.task.is_chief else None
        watch = _watcher(logs, self.on_epoch_end, lambda: loop.measurements())
        try:
            while error := self._train(loop, watch):
                cause = find_nan_inputs(self.parts.module, self.parts.context)
                failed, back = loop, find_way_back(error, loop, checkpoints, nan_inputs=cause)
                self._check_start(back, len(loop.position.timeline.roll_backs) + 1)
                driver, loop = self.parts.assemble(model, outputs, checkpoints, back, interruption)
                roll_back(error, failed, loop)
        except Exception:
            if self.parts.task.is_chief:
                so_far = self._result(loop, resumed_at=first_step)
                settings, cluster = self.parts.settings.to_mapping(), self.parts.task.cluster.to_mapping()
                write_unfinished(so_far, checkpoints.identity, settings=settings, cluster=cluster)
            raise
        finally:
            if logs is not None:
                logs.close()
        result = self._result(loop, resumed_at=first_step)
        if self.parts.task.is_chief:
            self.parts.task.send_heartbeat(FINISHING, result.steps)
            self._save(model, result, driver.inputs)
        elif is_tf_keras(model):
            save_with_the_chief(model)
        if self.parts.task.processes > 1:
            self._leave()
        return result

    def _check_start(self, start: Checkpoint | None, attempt: int) -> None:
        task = self.parts.task
        if task.processes > 1:
            check_same_start(
                None if start is None else start.step,
                [str(member) for member in task.cluster.members if member != task.member],
                name=str(task.member),
                attempt=attempt,
                folder=str(self.parts.output / CHECKPOINTS_FOLDER),
            )

    def _identify(self, model: "keras.Model") -> Identity:
        """What is trained, by the chief's model: the module may build others elsewhere, and all have to go on alike."""
        task, identity = self.parts.task, self.parts.identify(model)
        if task.processes == 1:
            return identity
        told = take_from_chief("identity", json.dumps(identity.to_json()), is_chief=task.is_chief)
        return Identity.from_json(json.loads(told))

    def _note_changes(self, loop: Loop, checkpoints: CheckpointFolder, start: Checkpoint) -> None:
        """Tell and record what is not as it was, and keep it with a checkpoint of this step."""
        notes, position = [], loop.position
        if changes := checkpoints.identity.changes_since(start.identity):
            told = "; ".join(changes)
            notes.append(f"went on from step {start.step} after changes ({told}), with the state of the optimizer")
        epochs, done = self.parts.settings.epochs, (position.epoch, position.step_in_epoch)
        if done > (epochs, 0):
            more = f"training.epochs is {epochs}, and {done[0]} epochs and {done[1]} steps were done before"
            notes.append(f"{more}: the model is that of step {start.step}")
        if not (new := [note for note in notes if note not in position.timeline.changes]):
            return
        position.timeline.changes += new
        loop.save_checkpoint()
        for note in new if self.parts.task.is_chief else ():
            logger.warning("%s; to begin anew, train into another folder, or: trainwright runs rerun", note)

    def _leave(self) -> None:
        task = self.parts.task
        others = [str(member) for member in task.cluster.members if not task.cluster.is_chief(member)]
        shut_down_together(others, name=str(task.member), is_chief=task.is_chief)

    def _train(self, loop: Loop, watch: OnEpochEnd) -> NotFinite | None:
        """Train to the end, or to the step where the loss was NaN or infinite."""
        loop.watch_epoch = watch
        with self.parts.module.user_code("training"):
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

    def _result(self, loop: Loop, *, resumed_at: int) -> TrainingResult:
        position, stopping = loop.position, loop.stopping
        kept = stopping.best_epoch if stopping is not None and stopping.best_weights else -1
        return TrainingResult(
            history=position.history,
            metrics=position.history[kept] if position.history else {},
            steps=position.step,
            seconds=position.seconds,
            model_folder=self.parts.output,
            examples_per_second=position.step * self.parts.settings.batch_size / max(position.seconds, 1e-9),
            strategy=self.parts.choice.strategy.name,
            strategy_reason=self.parts.choice.reason,
            replicas=self.parts.context.replicas,
            stop_reason=position.stop_reason,
            resumed_at=resumed_at,
            timeline=position.timeline,
            notes=[*self.notes, *position.timeline.changes],
        )

    def _save(self, model: "keras.Model", result: TrainingResult, inputs: Any) -> None:
        record = record_of(
            result, settings=self.parts.settings.to_mapping(), cluster=self.parts.task.cluster.to_mapping()
        )
        save_trained(
            self.parts.output,
            model=model,
            module=self.parts.module,
            context=self.parts.context,
            training=record,
            inputs=inputs,
        )
        (self.parts.output / UNFINISHED_FILE).unlink(missing_ok=True)  # of a member that was lost
        shutil.rmtree(self.parts.output / PREVIOUS_FOLDER, ignore_errors=True)


def _watcher(
    logs: TensorBoardLogs | None, on_epoch_end: OnEpochEnd | None, read_more: Callable[[], Mapping[str, float]]
) -> OnEpochEnd:
    def watch(epoch: int, metrics: Mapping[str, float]) -> bool:
        if logs is not None:
            logs.write(epoch, {**metrics, **read_more()})
        return on_epoch_end is not None and on_epoch_end(epoch, metrics)

    return watch
