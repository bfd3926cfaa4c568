"""Check the settings of the shipped pipelines before a run starts, with the steps' own classes. No TensorFlow."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright_components.saved_models.outputs import Task
    from trainwright_pipelines.requests.module_outline import ModuleOutline


def check_settings(values: Mapping[str, Any], declared: Collection[str]) -> None:
    """Refuse values that no data and no model make right.

    Args:
        values: The run's values; what is absent is left at its default.
        declared: The pipeline's parameters; those that it does not have are not looked at.

    Raises:
        InvalidSetting: A name, type or value that a step would refuse.
        InvalidModule: The model module cannot be one.
    """
    from trainwright_components.saved_models.versions import check_name

    if "training" in declared:
        _check_training(values)
        outline = _check_module(values)
        _check_data(values)
        _check_evaluation(values)
        _check_quantization(values)
        if "tuning" in declared:
            _check_tuning(values.get("tuning", {}), outline)
    if "model_name" in values:
        check_name(values["model_name"])


def check_place(values: Mapping[str, Any], home: Path) -> None:
    """Refuse a base path that is not on this machine, cannot be written to, or whose model's name another one has.

    Args:
        values: With the defaults of what was not given.
        home: Whose server would serve the model.

    Raises:
        InvalidSetting: Says which.
    """
    from trainwright_components.files import check_local
    from trainwright_components.model_server.operation.serving_home import check_model
    from trainwright_components.saved_models.versions import check_base_path

    base_path = values.get("model_base_path", "")
    check_local(base_path, name="model_base_path")
    if not base_path or not values["deploy"]:
        return
    check_base_path(Path(base_path))
    check_model(home, values["model_name"], Path(base_path))


def _check_training(values: Mapping[str, Any]) -> None:
    from trainwright_components.cluster.spec import ClusterSpec
    from trainwright_components.training.configuration.settings import TrainingSettings

    training = TrainingSettings.from_mapping(values.get("training", {}))
    cluster = ClusterSpec.from_mapping(values.get("cluster", {}))
    if training.strategy != "auto":  # which asks TensorFlow for devices
        from trainwright_components.training.strategies.choice import choose_strategy

        choose_strategy(training, cluster)


def _check_module(values: Mapping[str, Any]) -> "ModuleOutline | None":
    from trainwright_pipelines.requests.module_outline import check_module_text

    module = Path(values.get("module", ""))
    return check_module_text(module, values.get("params", {})) if module.is_absolute() else None


def _check_data(values: Mapping[str, Any]) -> None:
    from trainwright_components.prepare_data.settings import PrepareSettings

    given = {field.name: values[field.name] for field in fields(PrepareSettings) if field.name in values}
    PrepareSettings(**given)


def _check_evaluation(values: Mapping[str, Any]) -> None:
    from trainwright_components.evaluate.blessing import check_before_data
    from trainwright_components.evaluate.settings import EvaluationSettings

    given = {field.name: values[field.name] for field in fields(EvaluationSettings) if field.name in values}
    settings = EvaluationSettings(**given)
    if settings.thresholds:
        check_before_data(settings.thresholds, _tasks(values.get("task", "auto")), has_slices=bool(settings.slices))


def _tasks(task: str) -> "Collection[Task]":
    from trainwright_components.saved_models.outputs import Task

    return [Task(task)] if task in list(Task) else list(Task)


def _check_quantization(values: Mapping[str, Any]) -> None:
    from trainwright_components.quantize_tflite.budget import Budget
    from trainwright_components.quantize_tflite.convert import choose_modes

    Budget.parse(values.get("quantize_budget", {}))
    choose_modes(values.get("quantize_modes", []))


def _check_tuning(tuning: Mapping[str, Any], outline: "ModuleOutline | None") -> None:
    from trainwright_components.tuning.space_parsing import check_names, parse_space
    from trainwright_components.tuning.study import TuningSettings

    given = TuningSettings.from_mapping(tuning).search_space or (outline.search_space if outline else None)
    if given is None and (outline is None or not outline.is_complete or "SEARCH_SPACE" in outline.names):
        return  # it may be computed
    space = parse_space(given or {})
    if outline is not None and outline.default_params is not None:
        check_names(space, outline.default_params)
