"""Train a model module in this process or on a cluster, and report on it."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from trainwright_components.cluster.launchers.protocol import ClusterJob, Launcher
from trainwright_components.cluster.spec import LAUNCHERS, ClusterSpec
from trainwright_components.cluster.supervisor import ClusterOutcome, Restart, run_cluster
from trainwright_components.cluster.tf_config import find_place
from trainwright_components.errors import InvalidModule, InvalidSetting, TrainingFailed
from trainwright_components.files import check_local
from trainwright_components.settings import check_mapping, given_settings
from trainwright_components.train_distributed.checking import check_before_start
from trainwright_components.train_distributed.folders import Folders
from trainwright_components.train_distributed.joining import (
    CLUSTER_FOLDER,
    heartbeats_of_one,
    join_cluster,
    only_run_in,
)
from trainwright_components.train_distributed.report import write_report
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.members.member import TARGET, read_error
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.interruption import TERMINATED_EXIT_CODE, catch_sigterm
from trainwright_components.training.result import TrainingResult, read_result
from trainwright_components.training.run import prepare_output, run_training
from trainwright_components.training.task_context import TaskContext
from trainwright_components.training.unfinished import read_unfinished
from trainwright_components.user_module.keras_process import call_beside_its_keras
from trainwright_components.user_module.module import ModelModule, load_module, resolve_params

logger = logging.getLogger(__name__)

_LAST_LINES = 20


def train_model(
    dataset: str | Path,
    module: str | Path,
    output: str | Path = "",
    *,
    params: Mapping[str, Any] | None = None,
    training: TrainingSettings | Mapping[str, Any] | None = None,
    cluster: ClusterSpec | Mapping[str, Any] | None = None,
    log_dir: str | Path | None = None,
    report: str | Path | None = None,
    launcher: Launcher | None = None,
) -> TrainingResult:
    """Train `module` on the prepared `dataset` and write the trained model to `output`.

    A process that `TF_CONFIG` names as one of several members of a cluster takes its part in that cluster. The chief
    writes; a member that serves, such as a parameter server, ends with the training run and never returns.

    Args:
        dataset: A folder that prepare_data wrote.
        module: A Python file, a folder, or a dotted name.
        output: The folder of the trained model. Without it AIP_MODEL_DIR of Vertex AI counts, and where
            there is no `log_dir` AIP_TENSORBOARD_LOG_DIR.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        training: `TrainingSettings`, or its fields by name.
        cluster: `ClusterSpec`, or its fields by name, such as `{"worker": 2}`; nothing for this process alone.
        log_dir: Where TensorBoard logs go.
        report: Where the HTML page goes.
        launcher: What starts the members of a cluster, instead of the launcher that `cluster` names.

    Returns:
        What is kept beside the model: the metrics of each epoch, steps, strategy and timeline.

    Raises:
        InvalidSetting: A setting that cannot be used.
        InvalidData: `dataset` is not a prepared dataset.
        InvalidModule: The module cannot be trained on this dataset.
        UserCodeError: The user's code raised.
        TrainingFailed: The training run ended without a model.
    """
    check_local(report or "", name="report")
    folders = Folders.find(output, log_dir, os.environ)
    check_mapping(params or {}, where="params")
    find_place(os.environ)  # refuses what cannot be read before a process is started
    return call_beside_its_keras(
        module,
        _train,
        Path(dataset),
        module,
        folders,
        params=dict(params or {}),
        settings=given_settings(TrainingSettings, training),
        spec=given_settings(ClusterSpec, cluster),
        report=Path(report) if report else None,
        launcher=launcher,
    )


def _train(
    dataset: Path,
    module: str | Path,
    folders: Folders,
    *,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    spec: ClusterSpec,
    report: Path | None,
    launcher: Launcher | None,
) -> TrainingResult:
    output = folders.output
    options: dict[str, Any] = {
        "params": params,
        "settings": settings,
        "log_dir": folders.log_dir,
    }
    loaded = load_module(module)
    place = find_place(os.environ)
    if place is not None and not place.is_chief:
        return join_cluster(place, spec, loaded, dataset, output, **options)
    restarts: list[Restart] = []
    try:
        if place is not None:
            result = join_cluster(place, spec, loaded, dataset, output, **options)
        elif spec.is_empty:
            task = TaskContext(send_heartbeat=heartbeats_of_one(os.environ, output))
            with only_run_in(output):
                result = run_training(loaded, dataset, output, **options, task=task)
        else:
            loaded = check_before_start(spec, loaded, dataset, params, settings)
            with only_run_in(output):
                prepare_output(output, loaded, make_context(loaded, dataset, params, settings), settings)
                launcher = launcher or make_launcher(spec.launcher)
                _train_on_cluster(launcher, spec, loaded, dataset, output, restarts=restarts, **options)
            result = replace(read_result(output), restarts=tuple(restarts))
    except Exception as error:
        if report is not None and not isinstance(error, InvalidSetting | InvalidModule):
            _report_failure(
                report, error, loaded, dataset, output, restarts, settings=settings, params=params, cluster=spec
            )
        raise
    if report is not None:
        write_report(report, result, settings=settings, params=resolve_params(loaded, params), cluster=spec)
    return result


def _report_failure(
    report: Path,
    error: Exception,
    module: ModelModule,
    dataset: Path,
    output: Path,
    restarts: Sequence[Restart],
    *,
    settings: TrainingSettings,
    params: Mapping[str, Any],
    cluster: ClusterSpec,
) -> None:
    """Write the page about a training run that failed; what it failed of is raised in any case."""
    try:
        context = make_context(module, dataset, params, settings)
        found = read_unfinished(output, Identity.of(module, context, settings))
        write_report(
            report,
            replace(found.result, restarts=tuple(restarts)),
            settings=settings,
            params=context.params,
            cluster=cluster,
            failure=error,
            checkpoint=found.checkpoint,
        )
    except Exception as problem:
        logger.warning("the report cannot be written: %s", problem, exc_info=not isinstance(problem, OSError))


def _train_on_cluster(
    launcher: Launcher,
    spec: ClusterSpec,
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    log_dir: Path | None,
    restarts: list[Restart],
) -> None:
    """Train on a cluster; `restarts` takes what was lost on the way, also where that is an error in the end."""
    folder = output / CLUSTER_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    arguments = {
        "module": str(module.location),
        "dataset": str(dataset.absolute()),
        "output": str(output.absolute()),
        "folder": str(folder.absolute()),
        "params": dict(params),
        "training": settings.to_mapping(),
        "log_dir": str(log_dir.absolute()) if log_dir is not None else "",
        "takes_alone": module.taken_input is not None and module.taken_input.is_alone,
    }
    shared = [module.location, dataset, output, *([log_dir] if log_dir is not None else [])]
    for path in shared[2:]:
        path.mkdir(parents=True, exist_ok=True)
    paths = tuple(path.absolute() for path in shared)
    job = ClusterJob(spec=spec, target=TARGET, arguments=arguments, folder=folder.absolute(), paths=paths)
    with launcher, catch_sigterm() as interruption:
        outcome = run_cluster(launcher, job, should_stop=lambda: interruption.is_requested)
    restarts += outcome.restarts
    if outcome.was_stopped:
        raise SystemExit(TERMINATED_EXIT_CODE)
    if not outcome.is_success:
        raise _failure(outcome, folder)
    shutil.rmtree(folder, ignore_errors=True)


def make_launcher(name: str) -> Launcher:
    """The launcher of that name, which is one of `LAUNCHERS`."""
    module, _, kind = LAUNCHERS[name].partition(":")
    launcher: Launcher = getattr(import_module(module), kind)()
    return launcher


def _failure(outcome: ClusterOutcome, folder: Path) -> Exception:
    error = read_error(folder, outcome.failed) if outcome.failed is not None else None
    if error is not None:
        return error
    count = len(outcome.restarts)
    restarts = f" after {count} restart{'s' if count > 1 else ''}" if count else ""
    limit = outcome.restart_limit
    advice = f"; no more are allowed by cluster.max_restarts={limit}, which can be raised" if limit is not None else ""
    tail = "\n".join(outcome.end_of_log.splitlines()[-_LAST_LINES:])
    return TrainingFailed(f"{outcome.reason}{restarts}{advice}; the members' logs are in {folder}\n{tail}".rstrip())
