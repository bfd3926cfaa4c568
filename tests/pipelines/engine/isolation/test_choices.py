"""What a step runs in: chosen by step, for all, or by where its code is."""

import json
import platform
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from kfp import dsl

from trainwright_components.errors import InvalidSetting
from trainwright_components.home import Home
from trainwright_pipelines.cli.configuration import make_target
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.isolation.choices import (
    differing_images,
    isolation_of,
    parse_isolation,
    planned_steps,
    resolve_isolation,
    step_at,
)
from trainwright_pipelines.engine.records import RunSettings
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.targets.local.target import Local

GOLDEN = Path(__file__).parents[2] / "golden"
HERE = ".".join(platform.python_version_tuple()[:2])


def read(path: Path) -> Pipeline:
    return parse_pipeline(path.read_text())


def chosen(pipeline: Pipeline, **isolation: str) -> dict[str, str]:
    resolved = resolve_isolation(pipeline, {name.removeprefix("all"): word for name, word in isolation.items()})
    return {step.path: isolation_of(step, resolved) for step in planned_steps(pipeline)}


def test_code_that_is_in_an_image_needs_it_and_a_lightweight_component_does_not(specs: Path) -> None:
    assert set(chosen(read(specs / "containers.yaml")).values()) == {"container"}
    assert set(chosen(read(specs / "chain.yaml")).values()) == {"process"}


@dsl.component(base_image="python:3.9", target_image="mine:1")
def built() -> str:
    return "in the image"


def test_a_component_with_a_target_image_needs_it() -> None:
    pipeline = parse_pipeline(json.dumps(MessageToDict(built.pipeline_spec)))
    [step] = planned_steps(pipeline)
    assert (step.image, step.needs_image, isolation_of(step, {})) == ("mine:1", True, "container")


def test_a_step_that_is_named_wins_over_all_others(specs: Path) -> None:
    found = chosen(read(specs / "containers.yaml"), all="process", arguments="container")
    assert found == {"shell": "process", "arguments": "container", "arguments-2": "process"}
    loops = read(specs / "loops.yaml")
    inside = next(step.path for step in planned_steps(loops) if step.path.startswith("for-loop"))
    assert chosen(loops, **{inside: "container"})[inside] == "container"
    group, name = inside.split("/")
    assert step_at(loops, f"{group}/7/{name}", {}).path == inside


def test_a_step_is_called_what_its_author_called_it_and_the_groups_around_it(specs: Path) -> None:
    document = yaml.safe_load((specs / "loops.yaml").read_text())
    tasks = document["root"]["dag"]["tasks"]
    group = next(name for name in tasks if name.startswith("for-loop"))
    tasks[group]["taskInfo"]["name"] = "letters"
    pipeline = parse_pipeline(yaml.safe_dump(document))
    path = next(step.path for step in planned_steps(pipeline) if step.path.startswith(f"{group}/"))
    label = path.replace(group, "letters")
    assert resolve_isolation(pipeline, {label: "container"}) == {path: "container"}
    name = path.partition("/")[2]
    assert step_at(pipeline, f"{group}/3/{name}", {}).label == label
    with pytest.raises(InvalidSetting, match=f"has no step 'letters/3/{name}' that .*did you mean '{label}'"):
        resolve_isolation(pipeline, {f"letters/3/{name}": "container"})


def test_a_server_that_must_outlive_its_step_stays_on_this_machine() -> None:
    found = chosen(read(GOLDEN / "train_and_deploy.yaml"), all="container")
    assert {path.rpartition("/")[2] for path, word in found.items() if word == "process"} == {"deploy-serving"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("docker", "isolation is process or container, or STEP=process or container; got 'docker'"),
        ("shell=box", "got 'shell=box'"),
        ("shel=process", "'containers' has no step 'shel' that runs something; did you mean 'shell'"),
    ],
)
def test_an_unknown_word_or_step_is_refused_with_what_there_is(specs: Path, given: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        resolve_isolation(read(specs / "containers.yaml"), parse_isolation([given]))
    assert message.replace("'containers' ", "containers ") in str(refused.value)


def test_a_name_that_several_steps_have_is_refused_with_their_paths(specs: Path) -> None:
    pipeline = read(specs / "nested.yaml")
    paths = [step.path for step in planned_steps(pipeline) if step.path.startswith("inner/")]
    name = paths[0].partition("/")[2]
    with pytest.raises(InvalidSetting, match=f"'{name}' is several steps: inner/{name}, inner-2/{name}; give the path"):
        resolve_isolation(pipeline, {name: "process"})
    assert resolve_isolation(pipeline, {f"inner/{name}": "process"}) == {f"inner/{name}": "process"}


def test_later_choices_win_and_several_may_stand_between_commas() -> None:
    assert parse_isolation(["container, a=process", "a=container", ""]) == {"": "container", "a": "container"}


def test_steps_whose_image_is_another_python_are_told_once_for_the_run(specs: Path) -> None:
    text = (specs / "chain.yaml").read_text()
    image = read(specs / "chain.yaml").executors["exec-add"].image

    def told(name: str, **isolation: str) -> str:
        return differing_images(parse_pipeline(text.replace(f"image: {image}", f"image: {name}")), isolation)

    assert told(f"python:{HERE}") == told(f"docker.io/library/python:{HERE}-slim") == told("trainwright/cpu") == ""
    named = told("""'{{$.inputs.parameters["pipelinechannel--image"]}}'""")
    assert "not in their images: one that a parameter names (add, " in named
    assert told("python:3.9").startswith(f"steps run in this Python {HERE}, not in their images: python:3.9 (add, ")
    assert "tensorflow/tensorflow:2.15.0 (add" in told("tensorflow/tensorflow:2.15.0")
    assert differing_images(parse_pipeline(text.replace(f"image: {image}", "image: x")), {"": "container"}) == ""


def test_the_choice_is_kept_with_the_run_and_with_its_repetition(specs: Path, store: Store) -> None:
    text, given = (specs / "containers.yaml").read_text(), {"": "process", "SHELL": "process"}
    with pytest.raises(InvalidSetting, match="no step 'SHELL'"):
        runs.create_run(text, {}, store=store, settings=RunSettings(isolation=given))
    created = runs.create_run(text, {}, store=store, settings=RunSettings(isolation={"": "process"}))
    again = runs.repeat(created.id, store=store)
    assert store.run(again.id).isolation == store.run(created.id).isolation == {"": "process"}


def test_what_is_asked_of_a_run_wins_over_option_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWRIGHT_ISOLATION", "container, a=process")
    (tmp_path / "config.yaml").write_text("targets: {local: {isolation: 'b=process', images: 'cpu=mine:1'}}")
    here = make_target("local", [], Home(root=tmp_path))
    assert isinstance(here, Local)
    settled = here.complete(RunSettings())
    assert settled.isolation == {"": "container", "a": "process", "b": "process"}
    assert settled.images == {"trainwright/cpu": "mine:1"}
    asked = here.complete(RunSettings(isolation={"a": "container"}))
    assert asked.isolation == {"": "container", "a": "container", "b": "process"}
    assert here.complete(RunSettings(isolation={"": "process"})).isolation == {"": "process"}
