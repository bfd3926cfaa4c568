"""The groups among the parameters of the shipped pipelines and components, and what became of older flat names."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from trainwright_components.settings import Setting, list_settings

GROUPS = {
    "data": "trainwright_components.prepare_data.settings:PrepareSettings",
    "training": "trainwright_components.training.configuration.settings:TrainingSettings",
    "cluster": "trainwright_components.cluster.spec:ClusterSpec",
    "tuning": "trainwright_components.tuning.study:TuningSettings",
    "evaluation": "trainwright_components.metrics.settings:EvaluationSettings",
    "quantization": "trainwright_components.quantize_tflite.settings:QuantizationSettings",
    "serving": "trainwright_components.saved_models.serving:ServingSettings",
}
# Flat parameters of earlier releases that are not called in their group as they were.
_RENAMED = {
    "source_format": "data.format",
    "model_base_path": "serving.base_path",
    "champion_base_path": "serving.base_path",
    "deploy": "serving.enabled",
    "quantize": "quantization.enabled",
    "quantize_modes": "quantization.modes",
    "quantize_budget": "quantization.budget",
}


def settings_class(group: str) -> type[Any]:
    """The class that reads the group, with its `from_mapping`."""
    module, _, name = GROUPS[group].partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found


def settings_of(group: str) -> tuple[Setting, ...]:
    """The settings of a group, under dotted names that start with the group's."""
    return list_settings(settings_class(group), prefix=f"{group}.")


def is_group(name: str, type_name: str) -> bool:
    """Whether a parameter of this name and KFP type is one of the groups."""
    return name in GROUPS and type_name == "STRUCT"


def text_settings(types: Mapping[str, str]) -> frozenset[str]:
    """Dotted names of settings that are strings: what is written for them on a command line is not read as YAML.

    Args:
        types: The KFP types of a pipeline's parameters, by name.
    """
    groups = [name for name, type_name in types.items() if is_group(name, type_name)]
    return frozenset(each.name for group in groups for each in settings_of(group) if each.type == "string")


def places_in_groups(name: str, types: Mapping[str, str]) -> list[str]:
    """The dotted names of what is called `name` in the groups of a pipeline.

    Args:
        name: What somebody typed.
        types: The KFP types of the pipeline's parameters, by name.
    """
    groups = [each for each, type_name in types.items() if is_group(each, type_name)]
    if (renamed := _RENAMED.get(name, "")).partition(".")[0] in groups:
        return [renamed]
    dotted = (each.name.split(".") for group in groups for each in settings_of(group))
    found = [".".join(parts[: parts.index(name, 1) + 1]) for parts in dotted if name in parts[1:]]
    return list(dict.fromkeys(found))
