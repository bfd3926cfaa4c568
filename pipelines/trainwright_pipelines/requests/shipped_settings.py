"""Check the settings of the shipped pipelines before a run starts, with the steps' own classes. No TensorFlow."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_pipelines.requests.groups import GROUPS, settings_class

if TYPE_CHECKING:
    from trainwright_components.datasets.task import Task
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

    given = {"data": {"label": values.get("label", "")}}
    groups = {
        name: settings_class(name).from_mapping(values.get(name, {}), **given.get(name, {}))
        for name in GROUPS
        if name in declared
    }
    if "data" in groups:
        _check_data(groups["data"])
    outline = _check_module(values) if "module" in declared else None
    if {"training", "cluster"} <= groups.keys():
        _check_strategy(groups["training"], groups["cluster"])
    if {"data", "evaluation"} <= groups.keys():
        _check_thresholds(groups["evaluation"], _tasks(groups["data"]))
    if "quantization" in groups:
        _check_modes(groups["quantization"])
    if "tuning" in groups:
        _check_space(groups["tuning"], outline)
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
    from trainwright_components.saved_models.serving import ServingSettings
    from trainwright_components.saved_models.versions import check_base_path

    serving = ServingSettings.from_mapping(values.get("serving", {}))
    check_local(serving.base_path, name="serving.base_path")
    if not serving.base_path or not serving.enabled:
        return
    check_base_path(Path(serving.base_path))
    check_model(home, values["model_name"], Path(serving.base_path))


def _check_data(data: Any) -> None:
    """Words that stand for readers and kinds of columns; their modules bring in pandas, so only for who writes one."""
    if data.format:
        from trainwright_components.datasets.sources.opening import check_format

        check_format(data.format, setting="data.format")
    if data.kinds:
        from trainwright_components.datasets.infer import check_kinds

        check_kinds(data.kinds)


def _check_strategy(training: Any, cluster: Any) -> None:
    if training.strategy != "auto":  # which asks TensorFlow for devices
        from trainwright_components.training.strategies.choice import choose_strategy

        choose_strategy(training, cluster)


def _check_module(values: Mapping[str, Any]) -> "ModuleOutline | None":
    from trainwright_pipelines.requests.module_outline import check_module_text

    module = Path(values.get("module", ""))
    return check_module_text(module, values.get("params", {})) if module.is_absolute() else None


def _check_thresholds(evaluation: Any, tasks: "Collection[Task]") -> None:
    from trainwright_components.metrics.thresholds import check_before_data

    if evaluation.thresholds:
        check_before_data(evaluation.thresholds, tasks, has_slices=bool(evaluation.slices))


def _tasks(data: Any) -> "Collection[Task]":
    """What the model may be for, as far as settings tell."""
    from trainwright_components.datasets.task import Task

    has_several = len(data.labels) > 1
    if data.label_separator or (has_several and data.task == Task.CLASSIFICATION):
        return [Task.MULTILABEL]
    if data.task in list(Task):
        return [Task(data.task)]
    return [Task.MULTILABEL, Task.REGRESSION] if has_several else list(Task)


def _check_modes(quantization: Any) -> None:
    from trainwright_components.quantize_tflite.convert import choose_modes

    choose_modes(quantization.modes)


def _check_space(tuning: Any, outline: "ModuleOutline | None") -> None:
    from trainwright_components.tuning.space_parsing import check_names, parse_space

    given = tuning.search_space or (outline.search_space if outline else None)
    if given is None and (outline is None or not outline.is_complete or "SEARCH_SPACE" in outline.names):
        return  # it may be computed
    space = parse_space(given or {})
    if outline is not None and outline.default_params is not None:
        check_names(space, outline.default_params)
