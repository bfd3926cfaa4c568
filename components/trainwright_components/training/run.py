"""Train a model module on a prepared dataset: in this process alone, or as one member of a cluster."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidModule, InvalidSetting
from trainwright_components.files import content_digest
from trainwright_components.model_module import Context, ModelModule, resolve_params
from trainwright_components.training.checkpoints import CheckpointFolder
from trainwright_components.training.devices import configure_devices
from trainwright_components.training.early_stopping import EarlyStopping
from trainwright_components.training.feeding import open_driver
from trainwright_components.training.interruption import TERMINATED_EXIT_CODE, catch_sigterm
from trainwright_components.training.loop import Interrupted, Loop
from trainwright_components.training.module_check import check_kind, check_model
from trainwright_components.training.progress import ProgressLines
from trainwright_components.training.settings import TrainingSettings
from trainwright_components.training.strategies import Choice, build_strategy, choose_strategy
from trainwright_components.training.tensorboard_logs import TensorBoardLogs
from trainwright_components.training.tensorflow_errors import in_words_of_training
from trainwright_components.training.trained_model import CHECKPOINTS_FOLDER, TRAINING_FILE, save_trained

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)

OnEpochEnd = Callable[[int, Mapping[str, float]], bool]
_ALONE = Member(role="chief", index=0)
_NO_EFFECT_ON_WEIGHTS = ("epochs", "keep_checkpoints", "progress_every_s", "threads", "steps_per_call")


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Args:
        history: The metrics of each epoch.
        metrics: The metrics of the epoch whose weights were kept.
        steps: Optimizer steps.
        seconds: Spent in the loop, by this process and those it went on from.
        strategy: Which strategy it ran under, and why.
        stop_reason: Why it ended before its last epoch; empty otherwise.
        resumed_at: The step that this process began with.
    """

    history: list[dict[str, float]]
    metrics: dict[str, float]
    steps: int
    seconds: float
    model_folder: Path
    examples_per_second: float = 0.0
    strategy: str = ""
    strategy_reason: str = ""
    replicas: int = 1
    stop_reason: str = ""
    resumed_at: int = 0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which member of which cluster this process is; alone by default.

    Args:
        sign_of_life: Called when every member has been reached, and while training goes on.
    """

    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    member: Member = _ALONE
    sign_of_life: Callable[[], None] = lambda: None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, logs and the model."""
        return self.cluster.is_empty or self.cluster.is_chief(self.member)

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return max(1, self.cluster.trainers)


def run_training(
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    log_dir: Path | None = None,
    on_epoch_end: OnEpochEnd | None = None,
    place: Place | None = None,
) -> TrainingResult:
    """Train on the `train` split, validate on `validation`, and write the folder of the trained model to `output`.

    A training that was cut off goes on from its newest checkpoint in `output`, if it is the same training.

    Args:
        module: The user's code.
        dataset: A folder that prepare_data wrote.
        output: The folder of the trained model; made when absent.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        settings: How to train.
        log_dir: Where TensorBoard logs go; none are written when absent.
        on_epoch_end: Called with the number of epochs done and their last metrics; returns True to stop.
        place: Which member of a cluster this process is.

    Raises:
        InvalidModule: The module cannot be trained on this dataset.
        UserCodeError: The user's code raised.
        TrainingFailed: The loss is not a number any more.
        SystemExit: SIGTERM came; a checkpoint is saved and the code is 143.
    """
    settings, place = settings or TrainingSettings(), place or Place()
    if place.cluster.is_empty:
        prepare_output(output)
    context = Context(
        params=resolve_params(module, params or {}),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
        batch_size=settings.batch_size,
        seed=settings.seed,
        role="chief" if place.is_chief else place.member.role,
        role_index=place.member.index,
    )
    configure_devices(settings)
    choice = choose_strategy(settings, place.cluster)
    if module.train is not None:
        return _run_users_training(module.train, module, context, output, settings, place)
    with _quiet_tensorflow():
        strategy = build_strategy(choice)
    place.sign_of_life()
    context = context.with_replicas(strategy.num_replicas_in_sync)
    if place.is_chief:
        logger.info("strategy %s, %d replicas: %s", choice.name, context.replicas, choice.reason)
    with _quiet_tensorflow(), in_words_of_training(settings.batch_size):
        return _run_loop(
            module, context, output, settings, place, choice, strategy, log_dir=log_dir, on_epoch_end=on_epoch_end
        )


def prepare_output(output: Path) -> None:
    """Make the folder; a training that ended there counts for nothing, one that was cut off can go on."""
    if (output / TRAINING_FILE).is_file():
        shutil.rmtree(output / CHECKPOINTS_FOLDER, ignore_errors=True)
        (output / TRAINING_FILE).unlink()
    output.mkdir(parents=True, exist_ok=True)


def _run_loop(
    module: ModelModule,
    context: Context,
    output: Path,
    settings: TrainingSettings,
    place: Place,
    choice: Choice,
    strategy: "tf.distribute.Strategy",
    *,
    log_dir: Path | None,
    on_epoch_end: OnEpochEnd | None,
) -> TrainingResult:
    model = _build_model(module, context, strategy, place)
    checkpoints = CheckpointFolder(
        output / CHECKPOINTS_FOLDER,
        keep=settings.keep_checkpoints,
        fingerprint=_fingerprint(module, context, settings),
        is_writer=place.is_chief,
    )
    start = checkpoints.newest()
    if start is None:
        checkpoints.clear()
    first_step = start.step if start is not None else 0
    with module.user_code("reading the data"):
        driver, steps = open_driver(
            model,
            strategy,
            module,
            context,
            settings,
            processes=place.processes,
            is_chief=place.is_chief,
            first_step=first_step,
        )
    patience = settings.early_stopping_patience
    if patience is not None and settings.monitor.startswith("val_") and not driver.has_validation:
        raise InvalidSetting(
            f"training.monitor {settings.monitor} needs a validation split, and there is none; set monitor to loss"
        )
    loop = Loop(
        model=model,
        driver=driver,
        settings=settings,
        steps_per_epoch=steps,
        callbacks=_callbacks(module, context, model, steps, settings.epochs),
        save=checkpoints.save,
        sign_of_life=place.sign_of_life,
        stopping=None if patience is None else EarlyStopping(monitor=settings.monitor, patience=patience),
    )
    if start is not None:
        loop.restore(start)
    if place.is_chief:
        if start is not None:
            logger.info("going on from the checkpoint at step %d", first_step)
        loop.lines = _lines(settings, steps, first_step)
    logs = TensorBoardLogs(log_dir) if log_dir is not None and place.is_chief else None
    loop.watch_epoch = _watcher(logs, on_epoch_end)
    with module.user_code("training"), catch_sigterm() as loop.interruption:
        try:
            loop.run()
        except Interrupted:
            logger.warning("asked to end: saved a checkpoint at step %d", loop.position.step)
            raise SystemExit(TERMINATED_EXIT_CODE) from None
        finally:
            if logs is not None:
                logs.close()
    result = _result(loop, settings, choice, context, output, resumed_at=first_step)
    if place.is_chief:
        record = _record(result, settings, place)
        save_trained(output, model=model, module=module, context=context, training=record, inputs=driver.inputs)
    if place.processes > 1:
        _wait_for_all(strategy)
    return result


def _build_model(
    module: ModelModule, context: Context, strategy: "tf.distribute.Strategy", place: Place
) -> "keras.Model":
    import keras

    keras.utils.set_random_seed(context.seed)
    with strategy.scope():
        model = module.build_model(context)
        if place.cluster.is_empty:
            check_model(module, model, context)
        else:
            check_kind(module, model)  # the rest was checked before the cluster started
    return model


def _callbacks(
    module: ModelModule, context: Context, model: "keras.Model", steps: int, epochs: int
) -> "keras.callbacks.CallbackList":
    import keras

    users = list(module.callbacks(context)) if module.callbacks is not None else []
    for callback in users:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise InvalidModule(
                f"callbacks of {module.location.name} returned BackupAndRestore, which repeats steps; leave it out: "
                "training saves checkpoints and goes on from them at the exact step"
            )
    return keras.callbacks.CallbackList(users, model=model, epochs=epochs, steps=steps, verbose=0)


def _watcher(logs: TensorBoardLogs | None, on_epoch_end: OnEpochEnd | None) -> OnEpochEnd:
    def watch(epoch: int, metrics: Mapping[str, float]) -> bool:
        if logs is not None:
            logs.write(epoch, metrics)
        return on_epoch_end is not None and on_epoch_end(epoch, metrics)

    return watch


def _lines(settings: TrainingSettings, steps_per_epoch: int, first_step: int) -> ProgressLines:
    return ProgressLines(
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=settings.batch_size,
        every_s=settings.progress_every_s,
        step=first_step,
    )


def _result(
    loop: Loop, settings: TrainingSettings, choice: Choice, context: Context, output: Path, *, resumed_at: int
) -> TrainingResult:
    position, stopping = loop.position, loop.stopping
    is_best_kept = stopping is not None and settings.restore_best_weights and stopping.best_epoch >= 0
    kept = stopping.best_epoch if stopping is not None and is_best_kept else -1
    return TrainingResult(
        history=position.history,
        metrics=position.history[kept],
        steps=position.step,
        seconds=position.seconds,
        model_folder=output,
        examples_per_second=position.step * settings.batch_size / max(position.seconds, 1e-9),
        strategy=choice.name,
        strategy_reason=choice.reason,
        replicas=context.replicas,
        stop_reason=position.stop_reason,
        resumed_at=resumed_at,
    )


def _record(result: TrainingResult, settings: TrainingSettings, place: Place) -> dict[str, Any]:
    """What training.json holds; `read_result` reads it."""
    values = {name: value for name, value in asdict(result).items() if name != "model_folder"}
    return {**values, "settings": settings.to_mapping(), "cluster": place.cluster.to_mapping()}


def read_result(model_folder: Path) -> TrainingResult:
    """The result that a training in another process recorded."""
    record = json.loads((model_folder / TRAINING_FILE).read_text())
    values = {name: value for name, value in record.items() if name not in ("settings", "cluster", "inputs")}
    return TrainingResult(**values, model_folder=model_folder)


def _run_users_training(
    train: "Callable[[Context], keras.Model]",
    module: ModelModule,
    context: Context,
    output: Path,
    settings: TrainingSettings,
    place: Place,
) -> TrainingResult:
    """Let the module's own `train` do it. Resume, exact batches and early stopping are then the module's business."""
    import keras
    import tensorflow as tf

    started = time.monotonic()
    keras.utils.set_random_seed(context.seed)
    place.sign_of_life()
    model = train(context)
    check_kind(module, model)
    metrics: dict[str, float] = {}
    inputs = None
    if place.cluster.is_empty:
        driver, _ = open_driver(model, tf.distribute.get_strategy(), module, context, settings)
        inputs = driver.inputs
        metrics = {f"val_{name}": value for name, value in driver.evaluate().items()}
    result = TrainingResult(
        history=[metrics],
        metrics=metrics,
        steps=int(model.optimizer.iterations.numpy()),
        seconds=time.monotonic() - started,
        model_folder=output,
        strategy="own",
        strategy_reason=f"{module.location.name} has its own train(context)",
    )
    if place.is_chief:
        record = _record(result, settings, place)
        save_trained(output, model=model, module=module, context=context, training=record, inputs=inputs)
    return result


def _fingerprint(module: ModelModule, context: Context, settings: TrainingSettings) -> str:
    """What decides the weights: a checkpoint is used only by the training that wrote it."""
    deciding = {name: value for name, value in settings.to_mapping().items() if name not in _NO_EFFECT_ON_WEIGHTS}
    parts = [
        content_digest(module.location),
        json.dumps(dict(context.params), sort_keys=True, default=str),
        json.dumps(deciding, sort_keys=True),
        context.schema.to_json(),
        context.statistics.to_json(),
        str(context.replicas),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _wait_for_all(strategy: "tf.distribute.Strategy") -> None:
    """Keep every member until the chief has saved: members that left would look lost to it."""
    import tensorflow as tf

    def meet() -> Any:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.constant(1.0)), axis=None)

    tf.function(meet)()


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Keep back a line for each collective operation."""
    tf_logger = logging.getLogger("tensorflow")
    before = tf_logger.level
    tf_logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        tf_logger.setLevel(before)
