"""Pipelines are found by what a person calls them, and compiled once."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.cli.component_catalogue import list_components
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests import compiling
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import (
    PipelineSource,
    describe_function,
    find_pipeline,
    read_compiled,
    shipped_pipelines,
)

PIPELINE = '''"""Pipelines of a user."""

from helper import START
from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: float) -> float:
    """Add one."""
    return a + 1


@dsl.pipeline(name="count")
def count(a: float = START):
    """Count on."""
    add(a=a)
'''


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("START = 1.0\n")
    (tmp_path / "user.py").write_text(PIPELINE)
    return tmp_path / "user.py"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was really compiled."""
    names: list[str] = []
    real = compiling.compile_source

    def counting(source: PipelineSource) -> tuple[CompiledPipeline, list[Path]]:
        names.append(source.name)
        for name in ("helper", "user"):  # a later command is another process
            sys.modules.pop(name, None)
        return real(source)

    monkeypatch.setattr(compiling, "compile_source", counting)
    return names


@pytest.mark.parametrize("name", ["train_and_deploy", "train-and-deploy"])
def test_a_shipped_pipeline_is_found_by_name(name: str) -> None:
    source = find_pipeline(name)
    assert (source.name, source.function) == ("train_and_deploy", "train_and_deploy")
    assert describe_function(source).startswith("Train a model")


def test_every_shipped_file_holds_the_pipeline_of_its_name() -> None:
    for name, source in shipped_pipelines().items():
        assert describe_function(source), name


def test_a_function_in_a_file_is_found_with_and_without_its_name(user_file: Path) -> None:
    assert find_pipeline(f"{user_file}:count") == find_pipeline(str(user_file))


def test_a_pipeline_is_compiled_once_until_something_it_is_made_of_changes(
    user_file: Path, tmp_path: Path, compilations: list[str]
) -> None:
    source = find_pipeline(f"{user_file}:count")
    first = load_pipeline(source, tmp_path / "cache")
    assert load_pipeline(source, tmp_path / "cache") == first
    assert compilations == ["count"]
    (tmp_path / "helper.py").write_text("START = 22.0\n")
    changed = load_pipeline(source, tmp_path / "cache")
    assert compilations == ["count", "count"]
    parameters = changed.spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["a"]["defaultValue"] == 22.0


def test_a_damaged_entry_is_compiled_again(user_file: Path, tmp_path: Path, compilations: list[str]) -> None:
    source = find_pipeline(f"{user_file}:count")
    first = load_pipeline(source, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    for content in ("", "{", "[]", json.dumps({"files": {}, "pipeline": {"nme": "x"}})):
        entry.write_text(content)
        assert load_pipeline(source, tmp_path / "cache") == first
    assert len(compilations) == 5


def test_a_compiled_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    spec = {"pipelineInfo": {"name": "p"}, "root": {"dag": {"tasks": {}}}}
    platform: dict[str, Any] = {"platforms": {"kubernetes": {}}}
    for pipeline in (
        CompiledPipeline(name="p", spec=spec),
        CompiledPipeline(name="p", spec=spec, platform=platform),
    ):
        file = tmp_path / "p.yaml"
        file.write_text(pipeline.to_yaml())
        assert read_compiled(file) == pipeline


def test_a_pipeline_job_of_vertex_is_read_too(tmp_path: Path) -> None:
    spec = {"pipelineInfo": {"name": "p"}, "root": {"dag": {"tasks": {}}}}
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"displayName": "p", "pipelineSpec": spec}))
    assert read_compiled(file).spec == spec


def test_a_file_without_a_choice_lists_what_there_is(tmp_path: Path) -> None:
    text = "from kfp import dsl\n\n@dsl.pipeline\ndef one(): ...\n\n@dsl.pipeline(name='2')\ndef two(): ...\n"
    (tmp_path / "two.py").write_text(text)
    with pytest.raises(InvalidPipeline, match=r"two.py:one, .*two.py:two"):
        find_pipeline(str(tmp_path / "two.py"))


def test_components_are_described_as_kfp_compiles_them() -> None:
    found = list_components()
    golden = yaml.safe_load((Path(__file__).parents[1] / "golden" / "train_and_deploy.yaml").read_text())
    for name in ("evaluate", "prepare_data"):
        compiled = golden["components"][f"comp-{name.replace('_', '-')}"]
        for direction, key in (("in", "inputDefinitions"), ("out", "outputDefinitions")):
            ports = {port.name for port in found[name].ports if port.direction == direction and "." not in port.name}
            definitions = compiled.get(key, {})
            assert ports == {*definitions.get("parameters", {}), *definitions.get("artifacts", {})}
    assert all(port.description for entry in found.values() for port in entry.ports)
