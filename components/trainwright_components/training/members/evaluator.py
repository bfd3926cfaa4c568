"""The evaluator: a process that scores each new checkpoint of a training run, and keeps a record of the scores.

It reads checkpoints and writes its own folder and logs; nothing waits for it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.heartbeats import JOINED, SendHeartbeat
from trainwright_components.cluster.rules import EVALUATOR
from trainwright_components.errors import InvalidSetting
from trainwright_components.files import write_whole
from trainwright_components.quiet import quiet_loggers
from trainwright_components.training.configuration.devices import configure_devices
from trainwright_components.training.configuration.precision import dtype_policy
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.drivers.driver import Driver
from trainwright_components.training.evaluations import (
    BEST_CHECKPOINT,
    EVALUATOR_FOLDER,
    OTHERWISE,
    Evaluation,
    add_evaluation,
    begin_record,
    best_evaluation,
)
from trainwright_components.training.feeding import open_driver
from trainwright_components.training.keras_internals import check_keras
from trainwright_components.training.module_check import check_kind
from trainwright_components.training.monitor import check_monitor
from trainwright_components.training.recovery.checkpoints import (
    DAMAGED,
    Checkpoint,
    checkpoint_files,
    read_checkpoint,
)
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.model_state import MODEL_PREFIX, write_weights
from trainwright_components.training.strategies.one_device import OneDevice
from trainwright_components.training.task_context import send_no_heartbeat
from trainwright_components.training.tensorflow_errors import translate_tensorflow_errors
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER, TRAINING_FILE
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

_POLL_S = 0.5


def run_evaluator(
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    log_dir: Path | None,
    send_heartbeat: SendHeartbeat,
    is_over: Callable[[], bool] | None = None,
) -> None:
    """Evaluate the training run that other members do with the same arguments, until it is done.

    Raises:
        InvalidSetting: There is no validation split, or it has no such metric as `monitor`.
        UserCodeError: The user's code raised.
        TrainingFailed: This Keras lacks what training uses.
    """
    check_keras()
    configure_devices(settings)
    context = make_context(module, dataset, params, settings, role=EVALUATOR.role)
    in_words = translate_tensorflow_errors(settings.batch_size, dataset)
    with dtype_policy(settings.precision), quiet_loggers(), in_words, module.user_code("evaluating checkpoints"):
        Evaluator(
            module=module,
            context=context,
            settings=settings,
            output=output,
            log_dir=log_dir,
            send_heartbeat=send_heartbeat,
            is_over=is_over or (output / TRAINING_FILE).is_file,
        ).run()


@dataclass(kw_only=True)
class Evaluator:
    """Scores the checkpoints of one training until it is done.

    Args:
        output: The folder of the trained model, which the chief writes.
        log_dir: Where TensorBoard logs go, as a run of their own; none are written when absent.
        is_over: Whether the training run has ended; what it raises ends the evaluator.
        send_heartbeat: Called while it waits and after each score.
    """

    module: ModelModule
    context: Context
    settings: TrainingSettings
    output: Path
    is_over: Callable[[], bool]
    send_heartbeat: SendHeartbeat = send_no_heartbeat
    log_dir: Path | None = None
    _known: list[Evaluation] = field(default_factory=list)
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def run(self) -> None:
        """Score what there is and what comes, the oldest first; ends when the training run has and nothing is left.

        Raises:
            InvalidSetting: There is no validation split.
        """
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(self.context.seed)
        model = self.module.build_model(self.context)
        check_kind(self.module, model)
        driver, _ = open_driver(
            model, OneDevice(), tf.distribute.get_strategy(), self.module, self.context, self.settings
        )
        if not driver.has_validation:
            raise InvalidSetting("cluster.evaluator needs a validation split, and there is none")
        logs = tf.summary.create_file_writer(str(self.log_dir / EVALUATOR_FOLDER)) if self.log_dir else None
        for content, checkpoint in self._checkpoints():
            evaluation = self._score(model, driver, checkpoint)
            self._keep(evaluation, content)
            if logs is not None:
                with logs.as_default(step=evaluation.step):
                    for name, value in evaluation.metrics.items():
                        tf.summary.scalar(name.removeprefix("val_"), value)
                logs.flush()
            self.send_heartbeat(JOINED, evaluation.step)

    def _checkpoints(self) -> Iterator[tuple[bytes, Checkpoint]]:
        """New checkpoints of this training run, each with its file's content, as they come."""
        mine = Identity.of(self.module, self.context, self.settings)  # its model may be built otherwise here
        training, known = "", set[int]()
        while True:
            is_done = self.is_over()  # asked first, or the last checkpoint could be missed
            content = self._next_new()
            if content is None and is_done:
                return
            if content is None:
                self.send_heartbeat(JOINED)
                time.sleep(_POLL_S)
                continue
            try:
                checkpoint = read_checkpoint(content)
            except DAMAGED as error:
                logger.warning("a checkpoint cannot be read and is not scored: %s", error)
                continue
            if not mine.is_begun_alike(checkpoint.identity):
                continue
            if training != checkpoint.identity.key:
                training = checkpoint.identity.key
                self._known = begin_record(self.output, training)
                known = {one.step for one in self._known}
            if checkpoint.step not in known:
                yield content, checkpoint

    def _next_new(self) -> bytes | None:
        """The content of the oldest checkpoint that was not looked at yet."""
        for path in reversed(checkpoint_files(self.output / CHECKPOINTS_FOLDER)):
            try:
                key = (path.name, path.stat().st_mtime_ns)  # a training run that went back writes a step again
                if key not in self._seen:
                    self._seen.add(key)
                    return path.read_bytes()
            except FileNotFoundError:
                logger.warning("%s gave way to newer checkpoints before it could be scored", path.name)
        return None

    def _score(self, model: "keras.Model", driver: Driver, checkpoint: Checkpoint) -> Evaluation:
        started = time.monotonic()
        arrays = checkpoint.arrays.items()
        weights = {name.removeprefix(MODEL_PREFIX): value for name, value in arrays if name.startswith(MODEL_PREFIX)}
        write_weights(model, weights)
        metrics = {f"val_{name}": value for name, value in driver.evaluate().items()}
        if self.settings.monitor.startswith("val_") or OTHERWISE not in metrics:
            check_monitor(self.settings.monitor, metrics)
        position = checkpoint.progress["position"]
        is_end = position["step_in_epoch"] == 0  # of the epoch before the one that comes next
        return Evaluation(
            training=checkpoint.identity.key,
            step=checkpoint.step,
            epoch=max(0, int(position["epoch"]) - is_end),
            metrics=metrics,
            seconds=time.monotonic() - started,
        )

    def _keep(self, evaluation: Evaluation, content: bytes) -> None:
        add_evaluation(self.output, evaluation)
        self._known.append(evaluation)
        numbers = " ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
        logger.info("checkpoint of step %d: %s", evaluation.step, numbers)
        if best_evaluation(self._known, self.settings.monitor) is evaluation:
            write_whole(self.output / BEST_CHECKPOINT, content)
