"""Name, type, default and text of a setting are written once; listings and READMEs say the same."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

import trainwright_components
from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.component_catalogue import list_components
from trainwright_pipelines.requests.finding import DEFINITIONS
from trainwright_pipelines.requests.groups import GROUPS, places_in_groups, settings_class, settings_of, text_settings
from trainwright_pipelines.requests.parameters import Parameter, typed_texts

COMPONENTS = Path(trainwright_components.__file__).parent
READMES = sorted(COMPONENTS.glob("*/README.md"))
TABLE = re.compile(r"<!-- settings: (\w+) -->\n(.*?)<!-- end of settings -->\n", re.DOTALL)
FLAT = ("source", "label", "module", "model_name", "params")
DECLARED = {
    **{name: Parameter(name=name, type="STRING", is_optional=True) for name in ("source", "label")},
    **{name: Parameter(name=name, type="STRUCT", is_optional=True, default={}) for name in ("params", *GROUPS)},
}

TYPES = {name: each.type for name, each in DECLARED.items()}

every_group = pytest.mark.parametrize("group", GROUPS)


def table(group: str) -> str:
    rows = [
        f"| `{each.name.removeprefix(f'{group}.')}` | {each.type} | `{each.default}` | {each.description} |\n"
        for each in settings_of(group)
    ]
    return "".join(["\n| name | type | default | meaning |\n| --- | --- | --- | --- |\n", *rows, "\n"])


@every_group
def test_every_setting_has_a_type_a_default_and_a_text(group: str) -> None:
    assert settings_of(group)
    assert [each.name for each in settings_of(group) if not (each.type and each.default and each.description)] == []


@every_group
def test_an_empty_group_is_made_of_defaults(group: str) -> None:
    assert settings_class(group).from_mapping({}) == settings_class(group)()


def test_each_group_is_described_in_one_readme_as_its_class_says() -> None:
    """UPDATE_GOLDENS=1 writes the tables anew."""
    found: list[str] = []
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        if os.environ.get("UPDATE_GOLDENS") == "1":
            text = TABLE.sub(
                lambda part: f"<!-- settings: {part[1]} -->\n{table(part[1])}<!-- end of settings -->\n", text
            )
            readme.write_text(text, encoding="utf-8")
        for group, shown in TABLE.findall(text):
            found.append(group)
            assert shown == table(group), f"{readme} differs from the settings class; UPDATE_GOLDENS=1 rewrites it"
    assert sorted(found) == sorted(GROUPS)


def test_a_parameter_has_one_text_and_one_default_wherever_it_stands() -> None:
    names = [path.stem for path in DEFINITIONS.glob("*.py") if path.stem in {"train_and_deploy", "tune_train_deploy"}]
    pipelines = {name: importlib.import_module(f"trainwright_pipelines.definitions.{name}") for name in names}
    said: dict[str, set[tuple[str, Any]]] = {}
    for name, module in pipelines.items():
        inputs = getattr(module, name).component_spec.inputs
        assert set(inputs) - {"tuning"} == {*FLAT, *GROUPS} - {"tuning"}
        for parameter, port in inputs.items():
            said.setdefault(parameter, set()).add((port.description, repr(port.default)))
    for component in list_components().values():
        for port in component.ports:
            if port.name in GROUPS and port.direction == "in":
                said[port.name].add((port.description, port.default))
    assert {name: found for name, found in said.items() if len(found) > 1} == {}


def test_a_component_lists_the_settings_of_its_groups() -> None:
    ports = {port.name: port for port in list_components()["evaluate"].ports}
    assert [name for name in ports if name.startswith("serving")] == ["serving", "serving.enabled", "serving.base_path"]
    assert (ports["evaluation.batch_size"].type, ports["evaluation.batch_size"].default) == ("integer", "256")
    assert ports["quantization.budget.max_accuracy_drop"].default == "0.01"
    assert ports["quantization.budget.max_accuracy_drop"].description.startswith("Below the float model's accuracy")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("task", "data.task"),
        ("source_format", "data.format"),
        ("validation_source", "data.validation_source"),
        ("test_source", "data.test_source"),
        ("key_column", "data.key_column"),
        ("time_column", "data.time_column"),
        ("split_column", "data.split_column"),
        ("weight_column", "data.weight_column"),
        ("exclude", "data.exclude"),
        ("kinds", "data.kinds"),
        ("thresholds", "evaluation.thresholds"),
        ("slices", "evaluation.slices"),
        ("champion_tolerance", "evaluation.champion_tolerance"),
        ("replace_incomparable_champion", "evaluation.replace_incomparable_champion"),
        ("model_base_path", "serving.base_path"),
        ("quantize", "quantization.enabled"),
        ("quantize_modes", "quantization.modes"),
        ("quantize_budget", "quantization.budget"),
        ("deploy", "serving.enabled"),
        ("epochs", "training.epochs"),
        ("memory_growth", "training.devices.memory_growth"),
    ],
)
def test_an_older_flat_name_is_refused_with_the_new_one(old: str, new: str) -> None:
    """On the command line, in a file and in Python alike."""
    assert places_in_groups(old, TYPES) == [new]
    for name in (old, old.replace("_", "-"), f"{old}.inner"):
        with pytest.raises(
            InvalidSetting, match=rf"no parameter '{old.replace('_', '[_-]')}': it is {re.escape(new)}, "
        ):
            typed_texts([(name, "x")], DECLARED)


def test_a_name_that_several_groups_have_is_shown_in_each() -> None:
    with pytest.raises(InvalidSetting, match=r"it is training\.batch_size or evaluation\.batch_size, such as --set tr"):
        typed_texts([("batch_size", "4")], DECLARED)


def test_a_group_of_another_pipeline_is_not_taken_for_one_with_a_like_name() -> None:
    declared = {name: each for name, each in DECLARED.items() if name in ("source", "params", "data", "training")}
    with pytest.raises(InvalidSetting, match=r"^this pipeline has no group 'tuning'; it has: data, training$"):
        typed_texts([("tuning.metric", "loss")], declared)


def test_a_name_is_not_looked_for_in_groups_that_a_pipeline_does_not_have() -> None:
    declared = {"serving": Parameter(name="serving", type="STRING"), "name": Parameter(name="name", type="STRING")}
    assert places_in_groups("deploy", {"serving": "STRING", "name": "STRING"}) == []
    with pytest.raises(InvalidSetting, match="no parameter 'deploy'; there is: serving, name"):
        typed_texts([("deploy", "x")], declared)


def test_a_setting_that_is_text_stays_as_it_was_written() -> None:
    texts = text_settings(TYPES)
    written = [
        ("data.time_column", "on"),
        ("data.key_column", "007"),
        ("data.stratify", "off"),
        ("training.epochs", "3"),
    ]
    values = typed_texts(written, DECLARED, texts=texts)
    assert values == {"data": {"time_column": "on", "key_column": "007", "stratify": False}, "training": {"epochs": 3}}
