"""Tune a model module: search its space for the parameters with the best metric, and keep the best model."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.cluster.tf_config import refuse_foreign_cluster
from trainwright_components.datasets.statistics import STATISTICS_FILE
from trainwright_components.errors import InvalidModule, TrainingFailed, UserCodeError
from trainwright_components.files import check_local, content_digest, whole_folder, write_whole
from trainwright_components.hyperparameter_tune.study_report import study_report
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.settings import check_mapping, given_settings
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.trained_model import TRAINING_FILE
from trainwright_components.tuning.controller import run_study
from trainwright_components.tuning.objective import MODEL_FOLDER
from trainwright_components.tuning.runners.forked import ForkedTrials
from trainwright_components.tuning.space_parsing import check_names, parse_space
from trainwright_components.tuning.store import TrialStore
from trainwright_components.tuning.study import Study, Trial, TrialState, TuningSettings
from trainwright_components.user_module.keras_process import call_beside_its_keras

REPORT_FILE = "report.html"
_OBJECTIVE = "trainwright_components.tuning.training_objective"


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What a study found.

    Args:
        best_params: All parameters of the best trial: those searched over those given over the module's own.
        best_value: Its metric.
        model_folder: Its trained model.
    """

    study: Study
    best: Trial
    best_params: dict[str, Any]
    best_value: float
    model_folder: Path

    def numbers(self) -> dict[str, float]:
        """What to log as metrics: the best trial's metrics, and how many trials there were."""
        states = [trial.state for trial in self.study.trials]
        final = {} if self.best.final_measurement is None else self.best.final_measurement.metrics
        return {**final, "trials": len(states), "failed_trials": states.count(TrialState.INFEASIBLE)}


def tune_model(
    dataset: str | Path,
    module: str | Path,
    study_folder: str | Path,
    *,
    model_folder: str | Path | None = None,
    report: str | Path | None = None,
    params: Mapping[str, Any] | None = None,
    training: TrainingSettings | Mapping[str, Any] | None = None,
    tuning: TuningSettings | Mapping[str, Any] | None = None,
) -> TuningResult:
    """Search for the best parameters of `module` on `dataset`.

    A study that the folder already holds a part of is resumed: its finished trials count.

    Args:
        dataset: A prepared dataset.
        module: A Python file, a folder, or a dotted name.
        study_folder: Where the record, the trials' logs and the best model are kept.
        model_folder: Where the best model goes; otherwise it stays in the study's folder.
        report: File that the HTML report goes to; otherwise it is `report.html` in the study's folder.
        params: Overrides of `DEFAULT_PARAMS` that every trial shares.
        training: `TrainingSettings` that every trial shares, or its fields by name.
        tuning: `TuningSettings` of the study, or its fields by name.

    Returns:
        The study with all its trials, the best one, its parameters and where its model is.

    Raises:
        InvalidSetting: A setting or parameter that cannot be used, by name, or this process is a member of a cluster of
            another launcher's.
        TrainingFailed: Too many trials failed.
        UserCodeError: The same, where the module raised.
    """
    for name, path in {"study_folder": study_folder, "model_folder": model_folder, "report": report}.items():
        check_local(path or "", name=name)
    check_mapping(params or {}, where="params")
    refuse_foreign_cluster(os.environ)
    shared = training.to_mapping() if isinstance(training, TrainingSettings) else training or {}
    check_mapping(shared, where="training")
    return call_beside_its_keras(
        module,
        _tune,
        module,
        Path(dataset),
        Path(study_folder),
        model_folder=Path(model_folder) if model_folder else None,
        report=Path(report or Path(study_folder) / REPORT_FILE),
        params=dict(params or {}),
        training=dict(shared),
        settings=given_settings(TuningSettings, tuning),
    )


def _tune(
    module: str | Path,
    dataset: Path,
    study_folder: Path,
    *,
    model_folder: Path | None,
    report: Path,
    params: Mapping[str, Any],
    training: Mapping[str, Any],
    settings: TuningSettings,
) -> TuningResult:
    with WarmParent.connect_or_start() as parent:
        defaults, own_space = _describe(parent, module, settings)
        base = {**defaults, **params}
        space = parse_space(settings.search_space or own_space)
        check_names(space, defaults)
        runner = ForkedTrials(
            parent=parent,
            objective=f"{_OBJECTIVE}:train",
            options={
                "module": str(module),
                "dataset": str(dataset.absolute()),
                "params": dict(params),
                "training": dict(training),
                "metric": settings.metric,
            },
            parallel=settings.parallel_trial_count,
        )
        start = space.starting_point(base) if settings.start_from_params else None
        study = run_study(
            study_folder.absolute(),
            space,
            settings,
            runner,
            starting_point=start,
            fingerprint=_fingerprint(Path(module), dataset, base, training),
        )
    write_whole(report, study_report(study, params=base, training=TrainingSettings.from_mapping(training).to_mapping()))
    return _result(study, TrialStore(study_folder), base, model_folder)


def _result(study: Study, store: TrialStore, base: Mapping[str, Any], model_folder: Path | None) -> TuningResult:
    best = study.best
    value = None if best is None else best.value(study.settings.metric)
    if best is None or value is None:
        raise TrainingFailed("the study has no successful trial")
    kept = store.trial_folder(best.id) / MODEL_FOLDER
    if model_folder is not None:
        with whole_folder(model_folder, marker=TRAINING_FILE) as copy:
            shutil.copytree(kept, copy, copy_function=_link_or_copy, dirs_exist_ok=True)
    return TuningResult(
        study=study,
        best=best,
        best_params={**base, **best.params},
        best_value=value,
        model_folder=model_folder or kept,
    )


def _describe(
    parent: WarmParent, module: str | Path, settings: TuningSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`DEFAULT_PARAMS` and `SEARCH_SPACE`, read in a process that has TensorFlow."""
    limit = min(filter(None, (settings.max_trial_duration_s, settings.max_duration_s)), default=None)
    with tempfile.TemporaryDirectory(prefix="trainwright-tune-") as folder:
        output, log = Path(folder, "module.json"), Path(folder, "log.txt")
        arguments = {"module": str(module), "output": str(output)}
        with parent.spawn(f"{_OBJECTIVE}:describe_module", arguments, log=log) as child:
            try:
                code = child.wait(limit)
            except TimeoutError as error:
                raise TrainingFailed(
                    f"importing {module} took longer than {limit:g} s, "
                    "the limit of tuning.max_trial_duration_s or tuning.max_duration_s"
                ) from error
        if not output.is_file():
            raise InvalidModule(f"importing {module} ended with exit code {code}: {log.read_text().strip()[-2000:]}")
        found = json.loads(output.read_text())
    if "problem" in found:
        if found["is_contract"]:
            raise InvalidModule(found["problem"])
        raise UserCodeError(found["problem"], user_traceback=found["user_traceback"])
    return found["params"], found["search_space"]


def _fingerprint(module: Path, dataset: Path, params: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """What makes results comparable: the module's code, what the dataset's statistics say, what trials share."""
    code = content_digest(module) if module.exists() else str(module)
    statistics = dataset / STATISTICS_FILE
    data = content_digest(statistics) if statistics.is_file() else str(dataset)
    shared = json.dumps([code, data, dict(params), dict(training)], sort_keys=True, default=str)
    return hashlib.sha256(shared.encode()).hexdigest()


def _link_or_copy(source: str, target: str) -> None:
    """The study keeps its best model too, at no cost where both are on one disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
