"""The training loop: epochs, callbacks, validation, checkpoints, progress. Knows neither strategies nor data."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from trainwright_components.cluster.heartbeats import SAVING, TRAINING, SendHeartbeat
from trainwright_components.training.callback_state import (
    States,
    callback_arrays,
    callback_states,
    restore_callbacks,
)
from trainwright_components.training.callbacks import watch_batches
from trainwright_components.training.configuration.settings import DEFAULT_MONITOR, TrainingSettings
from trainwright_components.training.drivers.driver import Driver, Signals, as_numbers
from trainwright_components.training.early_stopping import EarlyStopping
from trainwright_components.training.monitor import check_monitor
from trainwright_components.training.progress import ProgressLines
from trainwright_components.training.recovery.checkpoints import Checkpoint
from trainwright_components.training.recovery.interruption import Interruption
from trainwright_components.training.recovery.model_state import (
    find_not_finite,
    read_rate,
    read_state,
    read_weights,
    write_state,
    write_weights,
)
from trainwright_components.training.recovery.position import Position
from trainwright_components.training.task_context import send_no_heartbeat
from trainwright_components.training.timeline import Equivalence, SavedCheckpoint

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

_GROWTH = 8
_CALL_S = 0.5  # long enough to hide what a call costs, short enough to answer signals
_BEST = "best/"
_CALLBACKS = "callbacks/"


class Interrupted(Exception):
    """Training was asked to end, and has saved a checkpoint."""


class NotFinite(Exception):
    """The loss or a weight is NaN or infinite; the message says which, and where."""


class StepWatch(Protocol):
    """Looks at a model after a step of its choice."""

    @property
    def step(self) -> int:
        """After how many steps, over all epochs."""

    def look_at(self, model: "keras.Model") -> Equivalence | None:
        """What it finds, for the account of the training."""


@dataclass(kw_only=True)
class Loop:
    """Drives one model through its epochs.

    Args:
        save: Writes a checkpoint and says what it wrote; does nothing on members that are not the chief.
        watch_epoch: Told the number of finished epochs and the metrics of the last; returns True to stop.
        watch: Looks at the model after one step; every member has to.
        send_heartbeat: Called after each call into TensorFlow, and before a checkpoint.
    """

    model: "keras.Model"
    driver: Driver
    settings: TrainingSettings
    steps_per_epoch: int
    callbacks: "keras.callbacks.CallbackList"
    save: Callable[[Checkpoint], SavedCheckpoint | None]
    watch_epoch: Callable[[int, Mapping[str, float]], bool] = lambda _epoch, _metrics: False
    interruption: Interruption = field(default_factory=Interruption)
    lines: ProgressLines | None = None
    position: Position = field(default_factory=Position)
    stopping: EarlyStopping | None = None
    watch: StepWatch | None = None
    send_heartbeat: SendHeartbeat = send_no_heartbeat
    _saved_at: float = field(default_factory=time.monotonic)
    _saved_epoch: int = -1
    _is_save_due: bool = False
    _validation_s: float = 5.0  # a guess until one has been measured
    _began: float = field(default_factory=time.monotonic)
    _seconds_before: float = 0.0
    _numbers_at: int = 0
    _count: int = 1
    _wanted_count: int = 1
    _wants_each_batch: bool = False
    _made_callbacks: States = field(default_factory=dict)
    _restored_callbacks: tuple[States, Any, States] = field(default_factory=lambda: ({}, {}, {}))

    def __post_init__(self) -> None:
        self._made_callbacks = callback_states(self.callbacks.callbacks)

    def run(self) -> Position:
        """Train to the end.

        Raises:
            NotFinite: The loss or a weight is NaN or infinite.
            TrainingFailed: A checkpoint cannot be written.
            Interrupted: The process was asked to end.
        """
        self._began, self._seconds_before = time.monotonic(), self.position.seconds
        self._wanted_count = self._fixed_count() or 1
        self._wants_each_batch = not self._fixed_count() and watch_batches(self.callbacks.callbacks)
        self.model.stop_training = False
        self.callbacks.on_train_begin()
        states, arrays, before = self._restored_callbacks
        made = self._made_callbacks
        restore_callbacks(self.callbacks.callbacks, states, arrays, made=made, made_before=before)
        while self.position.epoch < self.settings.epochs and not self.position.stop_reason:
            self._run_epoch()
        if self.lines is not None:
            self._note_course(is_last=True)
        if self._saved_epoch != self.position.epoch:
            self.save_checkpoint()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        if self.stopping is not None and self.stopping.best_weights:
            write_weights(self.model, self.stopping.best_weights)
        self.callbacks.on_train_end(self.position.history[-1] if self.position.history else {})
        return self.position

    def checkpoint(self) -> Checkpoint:
        """All that is needed to go on from here; every member has to call this."""
        self.note_time()
        progress: dict[str, Any] = {
            "position": self.position.to_json(),
            "callbacks": callback_states(self.callbacks.callbacks),
            "made_callbacks": self._made_callbacks,
        }
        arrays = dict(read_state(self.model)) | _prefixed(_CALLBACKS, callback_arrays(self.callbacks.callbacks))
        if self.stopping is not None:
            progress["stopping"] = self.stopping.to_json()
            arrays |= _prefixed(_BEST, self.stopping.best_weights)
        return Checkpoint(arrays=arrays, progress=progress, step=self.position.step)

    def restore(self, checkpoint: Checkpoint, *, is_edited: bool = False) -> None:
        """Go on from `checkpoint`. Metrics that changed begin anew; if code `is_edited`, new callbacks keep edits."""
        if not write_state(self.model, checkpoint.arrays):
            self.driver.reset_metrics()
        self.position = Position.from_json(checkpoint.progress["position"])
        self._numbers_at = checkpoint.step
        again = SavedCheckpoint(
            step=checkpoint.step, size_bytes=checkpoint.size_bytes, took_s=None, at_s=self.position.seconds
        )
        self.position.timeline.checkpoints.append(again)  # a checkpoint cannot tell of itself
        arrays = _with_prefix(_CALLBACKS, checkpoint.arrays)
        before = checkpoint.progress["made_callbacks"] if is_edited else self._made_callbacks
        self._restored_callbacks = checkpoint.progress["callbacks"], arrays, before
        if self.stopping is not None and "stopping" in checkpoint.progress:
            self.stopping.restore(checkpoint.progress["stopping"], _with_prefix(_BEST, checkpoint.arrays))

    def save_checkpoint(self) -> None:
        """Write a checkpoint of weights that are numbers; every member has to call this.

        Raises:
            NotFinite: A weight is NaN or infinite: from such a checkpoint nothing could go on.
        """
        self._check_weights()
        checkpoint = self.checkpoint()
        self.send_heartbeat(SAVING, self.position.step)
        saved = self.save(checkpoint)
        if saved is not None:
            self.position.timeline.add_checkpoint(replace(saved, at_s=self.position.seconds))
        self._saved_at = time.monotonic()
        self._saved_epoch = self.position.epoch if self.position.step_in_epoch == 0 else -1
        self._is_save_due = False

    def _run_epoch(self) -> None:
        position = self.position
        self.callbacks.on_epoch_begin(position.epoch)
        if position.step_in_epoch == 0:
            self.driver.reset_metrics()
        metrics: dict[str, float] = {}
        while self._epoch_goes_on():
            metrics = self._run_call()
        self._check_weights()
        if not metrics:
            metrics = as_numbers(self.model.get_metrics_result())
        metrics = {**metrics, **self._validate()}
        self.callbacks.on_epoch_end(position.epoch, metrics)
        metrics = self._with_additions(metrics)
        position.history.append(metrics)
        self._decide_on_stop(metrics)
        position.epoch += 1
        position.step_in_epoch = 0
        if self._is_save_due:
            self.save_checkpoint()
        if self.lines is not None:
            is_last = position.epoch == self.settings.epochs or bool(position.stop_reason)
            self.lines.report(position.step, metrics, is_last=is_last)

    def _epoch_goes_on(self) -> bool:
        return self.position.step_in_epoch < self.steps_per_epoch and not self.model.stop_training

    def _validate(self) -> dict[str, float]:
        if not self.driver.has_validation:
            return {}
        self.interruption.note_call(self._validation_s)
        self.callbacks.on_test_begin()
        started = time.monotonic()
        metrics = self.driver.evaluate()
        self._validation_s = time.monotonic() - started
        self.callbacks.on_test_end(metrics)
        return {f"val_{name}": value for name, value in metrics.items()}

    def _with_additions(self, metrics: dict[str, float]) -> dict[str, float]:
        """`metrics` with what callbacks such as LearningRateScheduler added to them, as Keras' history has it."""
        added = {name: values[-1] for name, values in self.model.history.history.items() if name not in metrics}
        return {**metrics, **{name: float(value) for name, value in added.items()}}

    def _run_call(self) -> dict[str, float]:
        position = self.position
        in_epoch = self.steps_per_epoch - position.step_in_epoch
        count = min(self._count, in_epoch, self._steps_to_checkpoint(), self._steps_to_watch())
        self.callbacks.on_train_batch_begin(position.step_in_epoch)
        started = time.monotonic()
        due = time.monotonic() - self._saved_at >= self.settings.checkpoint_every_s > 0
        wanted = Signals(
            stop=self.interruption.is_requested,
            save=due,
            count=self._wanted_count,
            one_by_one=self._wants_each_batch,
        )
        metrics, agreed = self.driver.train(count, wanted)
        self._check_loss(metrics, count, agreed.broken_at)
        position.step += count
        position.step_in_epoch += count
        if self.watch is not None and position.step == self.watch.step:
            position.timeline.equivalence = self.watch.look_at(self.model)
        self.callbacks.on_train_batch_end(position.step_in_epoch - 1, metrics)
        every = self.settings.checkpoint_every_steps
        self._is_save_due = agreed.save or (every > 0 and position.step % every == 0)
        if agreed.stop:
            self.interruption.answer()
        if agreed.stop or (self._is_save_due and self._epoch_goes_on()):  # one due at its end holds that end
            self.save_checkpoint()
        if agreed.stop:
            raise Interrupted
        self._count = 1 if agreed.one_by_one else agreed.count
        self._adapt_count(count, time.monotonic() - started)
        self.interruption.note_call(time.monotonic() - started)
        self.send_heartbeat(TRAINING, position.step)
        if self.lines is not None:
            self.lines.report(position.step, metrics)
            self._note_course()
        return metrics

    def _adapt_count(self, count: int, seconds: float) -> None:
        """Aim at calls of one length. The chief's wish reaches all members with the next call, so they never differ."""
        if not self._fixed_count():
            fitting = int(_CALL_S * count / max(seconds, 1e-6))
            self._wanted_count = max(1, min(fitting, _GROWTH * count, self.steps_per_epoch))

    def _fixed_count(self) -> int:
        """How many steps a call has if that is set; 0 when it may be chosen."""
        if self.settings.steps_per_call:
            return self.settings.steps_per_call
        return int(self.model.steps_per_execution) if self.model.steps_per_execution > 1 else 0

    def _steps_to_checkpoint(self) -> int:
        every = self.settings.checkpoint_every_steps
        return every - self.position.step % every if every else self.steps_per_epoch

    def _steps_to_watch(self) -> int:
        left = self.watch.step - self.position.step if self.watch is not None else 0
        return left if left > 0 else self.steps_per_epoch

    def _check_loss(self, metrics: Mapping[str, float], count: int, broken_at: int) -> None:
        loss = metrics.get("loss", 0.0)
        if broken_at or not math.isfinite(loss):
            step = self.position.step + (broken_at or count)
            shown = "NaN or infinite" if math.isfinite(loss) else loss
            raise NotFinite(f"the loss became {shown} in epoch {self.position.epoch + 1}, step {step}{self._advice()}")

    def _check_weights(self) -> None:
        """The loss hides some weights that are NaN or infinite: ReLU makes nothing of NaN."""
        step = self.position.step
        if weight := find_not_finite(self.model):
            since = f"noticed at step {step}; it was a number at step {self._numbers_at}"
            raise NotFinite(f"the weight {weight} is NaN or infinite: {since}{self._advice()}")
        self._numbers_at = step

    def _advice(self) -> str:
        rate = read_rate(self.model)
        return f", at learning rate {rate:.3g}; lower it, clip gradients (clipnorm), or look for NaN in the data"

    def _note_course(self, *, is_last: bool = False) -> None:
        self.position.timeline.note(
            step=self.position.step,
            at_s=self._elapsed(),
            batch_size=self.settings.batch_size,
            learning_rate=read_rate(self.model),
            is_last=is_last,
        )

    def measurements(self) -> dict[str, float]:
        """What is not a metric of the model, but belongs beside them: the learning rate, and the last known speed."""
        points = self.position.timeline.points
        speed = {"examples_per_second": points[-1].examples_per_second} if points else {}
        return {"learning_rate": read_rate(self.model), **speed}

    def _decide_on_stop(self, metrics: Mapping[str, float]) -> None:
        reasons = []
        epoch = self.position.epoch
        if self.settings.monitor != DEFAULT_MONITOR:
            check_monitor(self.settings.monitor, metrics)
        if self.stopping is not None:
            if self.stopping.is_better(metrics):
                best = read_weights(self.model) if self.settings.restore_best_weights else {}
                self.stopping.note_best(epoch, metrics, best)
            elif self.stopping.should_stop(epoch):
                since = f"since epoch {self.stopping.best_epoch + 1}"
                reasons.append(f"{self.stopping.monitor} is not better {since}, for {self.stopping.patience} epochs")
        if self.model.stop_training:
            reasons.append("a callback asked for it")
        if self.watch_epoch(epoch + 1, metrics):
            reasons.append("the caller asked for it")
        self.position.stop_reason = "; ".join(reasons)

    def note_time(self) -> None:
        """Have the position tell the time that was spent until now."""
        self.position.seconds = self._elapsed()

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._began


def _prefixed(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in arrays.items()}


def _with_prefix(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
