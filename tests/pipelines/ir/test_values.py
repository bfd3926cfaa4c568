"""Parameter types and placeholders."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.preparing import fill_placeholders
from trainwright_pipelines.engine.records import Run, State, Task, TaskKind
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.values import coerce, placeholder_text, plain, to_text


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3.0, "NUMBER_INTEGER", 3),
        ("3", "NUMBER_INTEGER", 3),
        ("3.0", "NUMBER_INTEGER", 3),
        (" -7 ", "NUMBER_INTEGER", -7),
        (3, "NUMBER_DOUBLE", 3.0),
        ("1e-3", "NUMBER_DOUBLE", 0.001),
        (True, "STRING", "true"),
        ([1, "a"], "STRING", '[1, "a"]'),
        ("text", "STRING", "text"),
        ("True", "BOOLEAN", True),
        (0, "BOOLEAN", False),
        ("[1, 2]", "LIST", [1, 2]),
        ((1, 2), "LIST", [1, 2]),
        ('{"a": 1}', "STRUCT", {"a": 1}),
        (None, "NUMBER_INTEGER", None),
        ("kept", "", "kept"),
    ],
)
def test_values_are_read_as_their_type(value: Any, kind: str, expected: Any) -> None:
    found = coerce(value, kind, name="x")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (2.5, "NUMBER_INTEGER", "'x' takes an integer, got '2.5'"),
        (True, "NUMBER_INTEGER", "an integer"),
        ("many", "NUMBER_DOUBLE", "a number, got 'many'"),
        ("yes", "BOOLEAN", "true or false, got 'yes'"),
        ("[1", "LIST", "a list"),
        ("{}", "LIST", "a list"),
        ([1], "STRUCT", "a mapping"),
    ],
)
def test_values_of_another_type_are_refused(value: Any, kind: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        coerce(value, kind, name="x")


def test_whole_numbers_of_a_spec_are_whole_again_wherever_they_are() -> None:
    found = plain({"a": [1.0, 2.5, {"b": 3.0}], "c": True})
    assert found == {"a": [1, 2.5, {"b": 3}], "c": True}
    assert type(found["a"][0]) is int
    assert repr(plain([2.0**53, -0.0, 1e20, 1e21, 1.0])) == "[9007199254740992, 0, 100000000000000000000, 1e+21, 1]"


@pytest.mark.parametrize(
    ("value", "expected"),  # as Go's strconv.FormatFloat(value, 'f', -1, 64) has it
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (-0.0, "-0"),
        (1e21, "1000000000000000000000"),
        (123456.789, "123456.789"),
        (100, "100"),
        (True, "true"),
        ("1.0", "1.0"),
        (None, ""),
        ([1, "a"], '[1, "a"]'),
    ],
)
def test_values_in_place_of_placeholders_look_as_on_kubeflow(value: Any, expected: str) -> None:
    assert placeholder_text(value) == expected


def test_what_is_too_deep_to_be_walked_through_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [{"a": nested}]
    for value, kind in ((nested, ""), (nested, "LIST"), (nested, "STRING"), ("[" * 900 + "]" * 900, "LIST")):
        with pytest.raises(InvalidSetting, match="'x' has lists or mappings in each other more than 200 deep"):
            coerce(value, kind, name="x")
    assert coerce("[" * 150 + "]" * 150, "LIST", name="x")


def test_numbers_that_are_too_large_or_lists_that_are_too_deep_are_refused() -> None:
    for value, kind in ((10**400, "NUMBER_DOUBLE"), ("1e400", "NUMBER_INTEGER"), ("[" * 100_000, "LIST")):
        with pytest.raises(InvalidSetting, match="parameter 'x' takes"):
            coerce(value, kind, name="x")


def test_text_of_values() -> None:
    assert [to_text(value) for value in ("a", 1, 2.0, False, None, {"a": 1})] == [
        "a",
        "1",
        "2.0",
        "false",
        "",
        '{"a": 1}',
    ]


EXECUTOR_INPUT = {
    "inputs": {
        "parameterValues": {"name": "{{$.pipeline_root}}", "items": [1, 2], "quote": 'say "hi"'},
        "artifacts": {"data": {"artifacts": [{"name": "d", "uri": "gs://b/x", "metadata": {"rows": 7, "t": "z"}}]}},
    },
    "outputs": {
        "parameters": {"out": {"outputFile": "/o/out"}},
        "artifacts": {"model": {"artifacts": [{"name": "model", "uri": "/o/model", "metadata": {}}]}},
        "outputFile": "/o/executor_output.json",
    },
}


@pytest.fixture
def placeholders() -> Placeholders:
    return Placeholders(EXECUTOR_INPUT, {"pipeline_root": "/root", "workspace_path": "/w"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{$.inputs.parameters['name']}}", "{{$.pipeline_root}}"),
        ('{{$.inputs.parameters["items"]}}', "[1, 2]"),
        ("{{$.inputs.parameters['absent']}}|", "|"),
        ("{{$.inputs.artifacts['data'].uri}}", "gs://b/x"),
        ("{{$.inputs.artifacts['data'].path}}", "/gcs/b/x"),
        ("{{$.inputs.artifacts['data'].metadata['rows']}}", "7"),
        ("{{$.inputs.artifacts['data'].properties['t']}}", "z"),
        ("{{$.inputs.artifacts['data'].metadata}}", '{"rows": 7, "t": "z"}'),
        ("{{$.inputs.artifacts['data'].name}}", "d"),
        ("{{$.outputs.parameters['out'].output_file}}", "/o/out"),
        ("{{$.outputs.artifacts['model'].path}}/x", "/o/model/x"),
        ("{{$.outputs.output_file}}", "/o/executor_output.json"),
        ("{{$.outputMetadataUri}}", "/o/executor_output.json"),
        ("{{$.pipeline_root}} and {{$.pipeline_root}}", "/root and /root"),
        ("{{$.workspace_path}}/a /kfp-workspace/b", "/w/a /w/b"),
        ("{{$.unknown.thing}} {{ other }}", "{{$.unknown.thing}} {{ other }}"),
        ("{{$.inputs.parameters['quote']}}", 'say "hi"'),
        ("{{$.inputs.parameters['quote'].json_escape[1]}}", 'say \\"hi\\"'),
    ],
)
def test_placeholders_are_filled_once(placeholders: Placeholders, text: str, expected: str) -> None:
    assert placeholders.text(text) == expected


def test_the_whole_input_is_json(placeholders: Placeholders) -> None:
    import json

    assert json.loads(placeholders.text("{{$}}")) == EXECUTOR_INPUT


def test_nested_arguments_are_flattened(placeholders: Placeholders) -> None:
    elements = [
        '{"IfPresent": {"InputName": "data", "Then": ["--data", {"Concat": ["a", "{{$.pipeline_root}}"]}]}}',
        '{"IfPresent": {"InputName": "absent", "Then": "--no"}}',
        '{"Concat": ["x", {"IfPresent": {"InputName": "absent", "Then": "y", "Else": "z"}}]}',
        '{"Concat": no json}',
    ]
    assert placeholders.arguments(elements) == ["--data", "a/root", "xz", '{"Concat": no json}']


def test_texts_inside_structures_are_filled(placeholders: Placeholders) -> None:
    assert placeholders.anywhere({"a": ["{{$.pipeline_root}}", 1]}) == {"a": ["/root", 1]}


def test_every_placeholder_that_kfp_declares_has_a_value_in_a_step(tmp_path: Path) -> None:
    """Those of kfp's own text; what each is, is in resolve.go of backend/src/v2/driver."""
    source = Path(str(find_spec("kfp").origin)).parent / "dsl" / "__init__.py"
    declared = re.findall(r"= '(\{\{\$.*?\}\})'", source.read_text(encoding="utf-8"))
    assert len(declared) >= 10
    created = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    run = Run(
        id="job-20261130",
        name="my name",
        pipeline="job",
        state=State.RUNNING,
        parameters={},
        folder=tmp_path,
        created=created,
        scheduled=created + timedelta(hours=1),
    )
    task = Task(
        id="t1",
        run_id=run.id,
        name="train",
        path="train",
        parent_path="",
        kind=TaskKind.PYTHON,
        component="c",
        display_name="Train it",
    )
    filled = {each: fill_placeholders(EXECUTOR_INPUT, run=run, task=task).text(each) for each in declared}
    iteration = replace(task, name="0", path="inner/train/0", parent_path="inner/train")
    name = fill_placeholders(EXECUTOR_INPUT, run=run, task=iteration).text("{{$.pipeline_task_name}}")
    assert name == "train"  # parallelForTaskKey in backend/src/v2/compiler/argocompiler/dag.go
    assert json.loads(filled.pop("{{$}}")) == EXECUTOR_INPUT
    assert filled == {
        "{{$.pipeline_job_name}}": "my name",
        "{{$.pipeline_job_resource_name}}": "job-20261130",
        "{{$.pipeline_job_uuid}}": "job-20261130",
        "{{$.pipeline_task_name}}": "train",
        "{{$.pipeline_task_uuid}}": "t1",
        "{{$.outputs.output_file}}": EXECUTOR_INPUT["outputs"]["outputFile"],
        "{{$.pipeline_root}}": str(tmp_path / "steps"),
        "{{$.pipeline_job_create_time_utc}}": "2026-11-30T12:00:00Z",
        "{{$.pipeline_job_schedule_time_utc}}": "2026-11-30T13:00:00Z",
        "{{$.workspace_path}}": str(tmp_path / "workspace"),
    }
