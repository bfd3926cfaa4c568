"""Reading compiled pipelines, and refusing what is none."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_pipelines.engine.parsing import parse_pipeline, parse_source
from trainwright_pipelines.engine.runs import check_parameters
from trainwright_pipelines.engine.spec import Retry


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
    assert parse_source({"runtimeValue": {"constantValue": {"intValue": "3"}}}).constant == "3"
    assert parse_source({"runtimeValue": {"constant": 3.0}}).constant == 3
    assert parse_source({"runtimeValue": {"runtimeParameter": "x"}}).input == "x"


def test_waits_grow_and_are_capped() -> None:
    retry = Retry(count=5, backoff_s=2, factor=3, max_backoff_s=10)
    assert [retry.wait_s(number) for number in (1, 2, 3)] == [2, 6, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a: [", "cannot be read as YAML"),
        ("just text", "is empty"),
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


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "needs a value for its parameter 'n'"),
        ({"n": 1, "m": 2}, "no parameter 'm'; it has n, colour"),
        ({"n": "many"}, "'n' takes a whole number, got 'many'"),
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
