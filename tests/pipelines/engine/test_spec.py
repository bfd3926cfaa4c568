"""Reading compiled pipelines, and refusing what is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_pipelines.engine.records import State
from trainwright_pipelines.engine.runs import check_parameters, create_run
from trainwright_pipelines.engine.runs import execute as execute_run
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline, parse_source
from trainwright_pipelines.ir.spec import Retry

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}}},
        "components": {"comp-a": {"executorLabel": "exec-a"}},
        "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "i", "command": ["true"]}}}},
    } | changes


def test_the_forms_of_a_spec_read_the_same(specs: Path) -> None:
    text = (specs / "loops.yaml").read_text()
    document = yaml.safe_load(text)
    pipeline = parse_pipeline(text)
    assert pipeline == parse_pipeline(json.dumps(document))
    assert pipeline == parse_pipeline(json.dumps({"pipeline_spec": document, "platform_spec": {}}))
    assert pipeline == parse_pipeline(json.dumps({"pipelineSpec": document, "runtimeConfig": {}}))


@pytest.mark.parametrize(
    ("spec_name", "values"),
    [
        ("pipeline_spec", {"runtime_config": {"parameters": {"n": 5}}}),
        ("pipelineSpec", {"runtimeConfig": {"parameterValues": {"n": 5}}}),
    ],
)
def test_the_values_of_a_request_for_a_run_are_defaults(spec_name: str, values: dict[str, Any]) -> None:
    root = {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}}}
    pipeline = parse_pipeline(json.dumps({spec_name: spec(root=root), **values}))
    assert check_parameters(pipeline, {}) == {"n": 5}
    assert check_parameters(pipeline, {"n": 6}) == {"n": 6}


def test_the_platform_document_is_read(specs: Path) -> None:
    pipeline = parse_pipeline((specs / "placeholders.yaml").read_text())
    assert pipeline.platform["pipelineConfig"]["workspace"]["size"] == "1Gi"
    assert pipeline.deadline_s is None


def test_tasks_wait_for_all_that_they_take_from(specs: Path) -> None:
    dag = parse_pipeline((specs / "loops.yaml").read_text()).root.dag
    assert dag is not None
    assert dag.tasks["total"].depends_on == ("for-loop-2",)
    assert dag.tasks["for-loop-2"].iterator.parallelism == 1


def test_constants_of_the_old_form_are_read() -> None:
    for value in ({"intValue": "3"}, {"doubleValue": 2.5}, {"stringValue": "x"}):
        assert parse_source({"runtimeValue": {"constantValue": value}}).constant == next(iter(value.values()))
    assert parse_source({"runtimeValue": {"constant": 3.0}}).constant == 3
    assert parse_source({"runtimeValue": {"runtimeParameter": "x"}}).input == "x"


def test_what_people_call_things_is_read() -> None:
    task = {"taskInfo": {"name": "Train it"}, "componentRef": {"name": "comp-a"}, "dependentTasks": ["b"]}
    slots = {"n": {"parameterType": "STRING", "description": "How many"}, "old": {"type": "INT"}}
    root = {
        "dag": {"tasks": {"a": task, "b": {"componentRef": {"name": "comp-a"}}}},
        "inputDefinitions": {"parameters": slots},
    }
    pipeline = parse_pipeline(json.dumps(spec(root=root, pipelineInfo={"name": "p", "description": "Of mine"})))
    assert (pipeline.name, pipeline.description) == ("p", "Of mine")
    assert pipeline.root.dag is not None
    read = pipeline.root.dag.tasks["a"]
    assert (read.display_name, read.depends_on) == ("Train it", ("b",))
    assert pipeline.root.input_parameters["n"].description == "How many"
    assert pipeline.root.input_parameters["old"].type == "NUMBER_INTEGER"


def test_types_of_artifacts_are_read_with_their_metadata() -> None:
    artifacts = {
        "titled": {"artifactType": {"schemaTitle": "system.Model"}, "metadata": {"layers": 3.0}},
        "old": {"artifactType": {"instanceSchema": "title: kfp.Model"}},
        "many": {"artifactType": {"schemaTitle": "system.Model"}, "isArtifactList": True, "isOptional": True},
    }
    outputs = {"parameters": {"old": {"type": "DOUBLE"}}}
    component = {
        "executorLabel": "exec-a",
        "inputDefinitions": {"artifacts": artifacts},
        "outputDefinitions": {"artifacts": artifacts} | outputs,
    }
    read = parse_pipeline(json.dumps(spec(components={"comp-a": component}))).components["comp-a"]
    for slots in (read.input_artifacts, read.output_artifacts):
        assert (slots["titled"].type, slots["old"].type) == ("system.Model", "title: kfp.Model")
        assert slots["titled"].metadata == {"layers": 3}
    assert read.input_artifacts["many"].is_list
    assert read.input_artifacts["many"].is_optional
    assert read.output_parameters["old"].type == "NUMBER_DOUBLE"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0"])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    root = {"dag": {"tasks": {name: {"componentRef": {"name": "comp-a"}}}}}
    with pytest.raises(InvalidPipeline, match=r"root has a task called .* which no file can be called"):
        parse_pipeline(json.dumps(spec(root=root)))
    for kind in ("parameters", "artifacts"):
        component = {"executorLabel": "exec-a", "outputDefinitions": {kind: {name: {}}}}
        with pytest.raises(InvalidPipeline, match=r"comp-a has an output called .* which no file can be called"):
            parse_pipeline(json.dumps(spec(components={"comp-a": component})))


@pytest.mark.parametrize("kind", ["resolver", "customJob"])
def test_what_only_vertex_runs_fails_and_says_so(kind: str, store: Store) -> None:
    executors: dict[str, Any] = {"exec-a": {kind: {"outputArtifactQueries": {}, "customJob": {}}}}
    run = create_run(json.dumps(spec(deploymentSpec={"executors": executors})), {}, store=store)
    ended = execute_run(run.id, store=store)
    assert ended.state == State.FAILED
    assert f"a is a {kind} step, which only Vertex AI Pipelines can run" in ended.error


@pytest.mark.parametrize("ttl", ["resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure"])
def test_what_a_pipeline_asks_for_in_vain_is_told(ttl: str, store: Store) -> None:
    paused = {"container": {"image": "x", "env": [{"name": "ARGO_DEBUG_PAUSE_AFTER", "value": "true"}]}}
    written = spec(
        root={"dag": {"tasks": {}}},
        defaultPipelineRoot="gs://bucket/x",
        deploymentSpec={"executors": {"exec-a": paused}},
    )
    platform = {"platforms": {"kubernetes": {"pipelineConfig": {ttl: 60}}}}
    run = create_run(json.dumps({"pipeline_spec": written, "platform_spec": platform}), {}, store=store)
    ended = execute_run(run.id, store=store)
    expected = (
        f"results are in {run.folder}/steps and not in gs://bucket/x, the pipeline's root",
        f"a time to live has no effect on this machine: runs stay until `trainwright runs delete {run.id}`",
        "the debug pause of a has no effect on this machine; to look into it where it raises: "
        f"trainwright runs rerun {run.id} --step a --pdb",
    )
    assert (ended.state, ended.warnings) == (State.SUCCEEDED, expected)


@pytest.mark.parametrize("written", ["90s", {"seconds": "90"}, {"seconds": 89, "nanos": 1_000_000_000}])
def test_a_policy_of_retries_is_read(written: Any) -> None:
    policy = {"maxRetryCount": 4, "backoffDuration": written, "backoffFactor": 1.5, "backoffMaxDuration": written}
    task = {"componentRef": {"name": "comp-a"}, "retryPolicy": policy}
    pipeline = parse_pipeline(json.dumps(spec(root={"dag": {"tasks": {"a": task}}})))
    assert pipeline.root.dag is not None
    assert pipeline.root.dag.tasks["a"].retry == Retry(count=4, backoff_s=90, factor=1.5, max_backoff_s=90)


def test_waits_grow_and_are_capped() -> None:
    retry = Retry(count=5, backoff_s=2, factor=3, max_backoff_s=10)
    assert [retry.wait_s(number) for number in (1, 2, 3)] == [2, 6, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a: [", "is not valid YAML"),
        ("just text", "something else than mappings"),
        ("- 1", "something else than mappings"),
        ("pipeline_spec:", "`root` is missing"),
        ("name: Print\nimplementation: {container: {image: x}}", "is a component and not a pipeline"),
        ("a: 1", "`root` is missing"),
        ("kind: Workflow\nroot: {}", "Argo workflow of KFP v1"),
        (json.dumps(spec(components={})), "'comp-a', which is missing"),
        (json.dumps(spec(deploymentSpec={})), "'exec-a', which is missing"),
        (
            json.dumps(
                spec(root={"dag": {"tasks": {"a": {"inputs": {"parameters": {"x": {"taskOutputParameter": {}}}}}}}})
            ),
            "malformed",
        ),
        (
            json.dumps(
                spec(root={"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "dependentTasks": ["b"]}}}})
            ),
            "waits for 'b'",
        ),
        (
            json.dumps(
                spec(root={"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "dependentTasks": ["a"]}}}})
            ),
            "wait for each other",
        ),
        (
            json.dumps(spec(components={"comp-a": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}}}})),
            "comp-a holds itself",
        ),
    ],
)
def test_what_is_no_pipeline_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPipeline, match=message):
        parse_pipeline(text)


def grouped(task: dict[str, Any], *, group: dict[str, Any] | None = None) -> str:
    """A pipeline with an input `x` whose group, which declares `x` too, holds `task`."""
    inputs = {"parameters": {"x": {"parameterType": "LIST"}}, "artifacts": {"d": {}}}
    outputs = {"parameters": {"out": {"parameterType": "STRING"}}, "artifacts": {"made": {}}}
    dag = {"tasks": {"made": {"componentRef": {"name": "comp-a"}}, "a": {"componentRef": {"name": "comp-a"}, **task}}}
    given = {"parameters": {"x": {"componentInputParameter": "x"}}, "artifacts": {"d": {"componentInputArtifact": "d"}}}
    components = {
        "comp-a": {"executorLabel": "exec-a", "inputDefinitions": inputs, "outputDefinitions": outputs},
        "comp-group": {"dag": dag | (group or {}), "inputDefinitions": inputs},
    }
    root = {"dag": {"tasks": {"group": {"componentRef": {"name": "comp-group"}, "inputs": given}}}}
    return json.dumps(spec(components=components, root=root | {"inputDefinitions": inputs}))


def taking(**parameters: Any) -> dict[str, Any]:
    return {"inputs": {"parameters": parameters}}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (taking(x={"componentInputParameter": "y"}), "'a' takes its input 'x' from 'y', an input that comp-group does"),
        (
            taking(x={"componentInputParameter": "y-subvar-z"}),
            "'y-subvar-z', an input that comp-group does not declare",
        ),
        (taking(x={"componentInputParameter": "y"}, y={"componentInputParameter": "x"}), "from 'y', an input that"),
        (taking(x={"runtimeValue": {"runtimeParameter": "y"}}), "from 'y', an input that comp-group does not declare"),
        (taking(x={"taskOutputParameter": {"producerTask": "made", "outputParameterKey": "no"}}), "'no' from the task"),
        (taking(x={"taskOutputParameter": {"producerTask": "no", "outputParameterKey": "out"}}), "waits for 'no'"),
        (
            taking(x={"runtimeValue": {"constant": "a {{$.inputs.parameters['y']}}"}}),
            "text 'x' of task 'a' refers to 'y'",
        ),
        (taking(x={"runtimeValue": {"constant": [{"b": "{{$.inputs.artifacts['y'].uri}}"}]}}), "text 'x' of task 'a'"),
        ({"inputs": {"artifacts": {"d": {"componentInputArtifact": "y"}}}}, "artifact 'd' from 'y', an input that"),
        ({"inputs": {"artifacts": {"d": {"componentInputArtifact": "x"}}}}, "artifact 'd' from 'x', an input that"),
        (
            {
                "inputs": {
                    "artifacts": {"d": {"taskOutputArtifact": {"producerTask": "made", "outputArtifactKey": "out"}}}
                }
            },
            "the artifact 'out' from the task 'made', which declares no such output",
        ),
        (
            {"triggerPolicy": {"condition": "inputs.parameter_values['y'] == '1'"}},
            "condition of task 'a' refers to 'y'",
        ),
        (
            {"triggerPolicy": {"condition": "1 == 1 || inputs.parameters.y == '1'"}},
            "condition of task 'a' refers to 'y'",
        ),
        ({"triggerPolicy": {"condition": "inputs.artifacts['y'][0].uri != ''"}}, "condition of task 'a' refers to 'y'"),
        ({"parameterIterator": {"itemInput": "x", "items": {"inputParameter": "y"}}}, "loop of task 'a' refers to 'y'"),
        (
            {"parameterIterator": {"itemInput": "y", "items": {"raw": "[1]"}}},
            "each item to comp-a as 'y', which it lacks",
        ),
        (
            {"parameterIterator": {"itemInput": "x", "items": {"raw": "[\"{{$.inputs.parameters['y']}}\"]"}}},
            "the loop of task 'a' refers to 'y'",
        ),
        ({"artifactIterator": {"itemInput": "d", "items": {"inputArtifact": "x"}}}, "loop of task 'a' refers to 'x'"),
    ],
)
def test_what_a_group_does_not_declare_is_refused_wherever_it_is_read(task: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidPipeline, match=re.escape(message)):
        parse_pipeline(grouped(task))


@pytest.mark.parametrize(
    ("kind", "selector", "message"),
    [
        (
            "parameters",
            {"valueFromParameter": {"producerSubtask": "no", "outputParameterKey": "out"}},
            "'no', which is not",
        ),
        (
            "parameters",
            {"valueFromParameter": {"producerSubtask": "a", "outputParameterKey": "made"}},
            "parameter 'made'",
        ),
        (
            "artifacts",
            {"artifactSelectors": [{"producerSubtask": "a", "outputArtifactKey": "no"}]},
            "artifact 'no' from",
        ),
    ],
)
def test_an_output_of_a_group_comes_from_an_output_inside(kind: str, selector: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidPipeline, match="'result' of comp-group takes ") as caught:
        parse_pipeline(grouped({}, group={"outputs": {kind: {"result": selector}}}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "task",
    [
        taking(x={"componentInputParameter": "x"}, unread={"componentInputParameter": "y"}),
        taking(x={"componentInputParameter": "x-subvar-y"}),
        taking(x={"runtimeValue": {"constant": "{{$.inputs.parameters['z']}}"}}, z={"componentInputParameter": "x"}),
        {"triggerPolicy": {"condition": "inputs.parameter_values['x'] == 'inputs.parameter_values[\\'y\\']'"}},
        {"parameterIterator": {"itemInput": "x", "items": {"inputParameter": "x"}}},
    ],
)
def test_what_is_declared_or_read_by_nobody_is_taken(task: dict[str, Any]) -> None:
    parse_pipeline(grouped(task))


def test_an_item_that_the_compiler_left_out_of_an_inner_loop_is_no_empty_text(specs: Path) -> None:
    with pytest.raises(InvalidPipeline, match="comp-for-loop-4 does not declare; kfp's compiler leaves"):
        parse_pipeline((specs / "texts_of_nested_loops.yaml").read_text())


def test_parts_of_items_in_texts_are_filled(execute: Execute) -> None:
    assert execute("texts_of_loops").run.outputs.parameters == {"Output": ["a-1-2", "a-3-2"]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "needs a value for its parameter 'n'"),
        ({"n": 1, "m": 2}, "no parameter 'm'; it has n, colour"),
        ({"n": "many"}, "'n' takes an integer, got 'many'"),
        ({"n": 1, "colour": "green"}, "'colour' is one of red, blue, got 'green'"),
    ],
)
def test_parameters_of_a_run_are_checked_before_anything_starts(parameters: dict[str, Any], message: str) -> None:
    slots = {
        "n": {"parameterType": "NUMBER_INTEGER"},
        "colour": {"parameterType": "STRING", "isOptional": True, "literals": ["red", "blue"]},
    }
    root = {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": slots}}
    pipeline = parse_pipeline(json.dumps(spec(root=root)))
    with pytest.raises(InvalidSetting, match=message):
        check_parameters(pipeline, parameters)
    assert check_parameters(pipeline, {"n": 2.0, "colour": "red"}) == {"n": 2, "colour": "red"}
