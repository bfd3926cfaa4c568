"""Train a model module on a prepared dataset: in this process alone, or as one member of a cluster."""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainwright_components.cluster.heartbeats import JOINED
from trainwright_components.cluster.tf_config import refuse_foreign_cluster
from trainwright_components.datasets.verdicts.batches import judge_batch
from trainwright_components.quiet import quiet_loggers
from trainwright_components.training.assembly import Assembly
from trainwright_components.training.configuration.devices import configure_devices, configure_without_gpus
from trainwright_components.training.configuration.precision import dtype_policy
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.custom_loop import run_custom_loop
from trainwright_components.training.data.splits import TRAIN
from trainwright_components.training.equivalence import Comparison, compare_with_one_device
from trainwright_components.training.evaluations import EVALUATOR_FOLDER
from trainwright_components.training.keras_internals import check_keras
from trainwright_components.training.loop import StepWatch
from trainwright_components.training.recovery.checkpoints import newest_identity
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.previous import PREVIOUS_FOLDER, move_files
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.session import OnEpochEnd, Session
from trainwright_components.training.strategies.choice import check_replicas, check_tf_keras, choose_strategy
from trainwright_components.training.strategies.protocol import Proof
from trainwright_components.training.task_context import TaskContext
from trainwright_components.training.tensorflow_errors import translate_tensorflow_errors
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER, TRAINING_FILE
from trainwright_components.training.unfinished import UNFINISHED_FILE
from trainwright_components.user_module.keras_kind import uses_tf_keras
from trainwright_components.user_module.module import Context, ModelModule

logger = logging.getLogger(__name__)


def run_training(
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    log_dir: Path | None = None,
    on_epoch_end: OnEpochEnd | None = None,
    task: TaskContext | None = None,
    watch: StepWatch | None = None,
    asked: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Train on the `train` split, validate on `validation`, and write the folder of the trained model to `output`.

    A training run that was cut off continues from its newest checkpoint in `output`, if it is the same training.

    Args:
        module: The user's code.
        dataset: A folder that prepare_data wrote.
        output: The folder of the trained model; made when absent.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        settings: How to train.
        log_dir: Where TensorBoard logs go; none are written when absent.
        on_epoch_end: Called with the number of epochs done and their last metrics; returns True to stop.
        task: Which member of a cluster this process is.
        watch: Looks at the model after a step; by default what `equivalence_steps` asks for.
        asked: Metrics that each epoch has to have, by the setting that names them.

    Raises:
        InvalidSetting: A setting that cannot be used, or this process is a member of a cluster of another launcher's.
        InvalidModule: The module cannot be trained on this dataset.
        UserCodeError: The user's code raised.
        TrainingFailed: The loss is not a number any more.
        SystemExit: SIGTERM came; a checkpoint is saved and the code is 143.
    """
    settings, task = settings or TrainingSettings(), task or TaskContext()
    choose_strategy(settings, task.cluster)  # refuses before anything is done; chosen again once GPUs are
    if task.cluster.is_empty:
        refuse_foreign_cluster(os.environ)
    context = make_context(
        module,
        dataset,
        params or {},
        settings,
        role=task.role,
        role_index=task.member.index,
        log_dir=log_dir,
    )
    if task.cluster.is_empty:
        prepare_output(output, module, context, settings)
    configure = configure_without_gpus if task.cluster.has_parameter_servers else configure_devices
    notes = (*configure(settings), *_notes_on_rows(module, context))
    for note in notes if task.is_chief else ():
        logger.warning(note)
    choice = choose_strategy(settings, task.cluster)
    if uses_tf_keras(module.location):
        check_tf_keras(choice.strategy, settings)
    else:
        check_keras()
    if module.train is None and (proof := choice.strategy.proof(settings)) is not None:
        watch = _comparison(proof, module, dataset, params or {}, settings, task)
    with dtype_policy(settings.precision):
        if module.train is not None:
            return run_custom_loop(module.train, module, context, output, settings, task)
        with (
            quiet_loggers(),
            translate_tensorflow_errors(settings.batch_size, dataset),
        ):  # TensorFlow tells of each collective
            distribution = choice.strategy.make(settings)
            replicas = distribution.num_replicas_in_sync
            check_replicas(choice.strategy.name, replicas, settings)
            task.send_heartbeat(JOINED)
            if task.is_chief:
                who = task.cluster.who_trains(replicas)
                logger.info("strategy %s, %s: %s", choice.strategy.name, who, choice.reason)
            parts = Assembly(
                module=module,
                context=context.with_replicas(replicas),
                settings=settings,
                output=output,
                task=task,
                choice=choice,
                distribution=distribution,
                watch=watch,
                asked=asked or {},
            )
            return Session(parts=parts, log_dir=log_dir, on_epoch_end=on_epoch_end, notes=notes).run()


def _notes_on_rows(module: ModelModule, context: Context) -> Iterator[str]:
    """What looks wrong once both are known, the settings and the rows; of rows that a module makes nothing is known."""
    train = context.statistics.splits.get(TRAIN) if module.make_dataset is None else None
    yield from map(str, judge_batch(context.batch_size, train.rows) if train else ())


def _comparison(
    proof: Proof,
    module: ModelModule,
    dataset: Path,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    task: TaskContext,
) -> Comparison:
    if not task.is_chief:
        return Comparison(step=proof.steps)
    proven = replace(settings, equivalence_steps=proof.steps)
    limit = math.inf if proof.limit is None else proof.limit
    return compare_with_one_device(module.location, dataset, params=params, settings=proven, limit=limit)


def prepare_output(output: Path, module: ModelModule, context: Context, settings: TrainingSettings) -> None:
    """Make the folder; one that was cut off can go on there, and one that ended if all that changed is more epochs.

    Checkpoints of another one that ended are set aside, until the new one has ended.
    """
    if (output / TRAINING_FILE).is_file():
        if not _has_more_epochs(output, module, context, settings):
            for folder in (CHECKPOINTS_FOLDER, EVALUATOR_FOLDER):
                move_files(output / folder, output / PREVIOUS_FOLDER / folder)
        (output / TRAINING_FILE).unlink()
    (output / UNFINISHED_FILE).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)


def _has_more_epochs(output: Path, module: ModelModule, context: Context, settings: TrainingSettings) -> bool:
    """Whether the one that ended in `output` did so after its last epoch, and would go on with these settings."""
    record = json.loads((output / TRAINING_FILE).read_text())
    if record.get("stop_reason") or record.get("settings", {}).get("epochs", settings.epochs) >= settings.epochs:
        return False
    earlier = newest_identity(output / CHECKPOINTS_FOLDER)
    return earlier is not None and Identity.of(module, context, settings).is_begun_alike(earlier)
