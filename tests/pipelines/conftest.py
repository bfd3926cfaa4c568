"""A finished run with a condition, a loop, metrics, curves, reports and hostile texts; no engine needed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainwright_pipelines.engine.records import Artifact, Attempt, Run, State, Task, TaskKind, Values

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOSTILE = "</pre><script>alert('x')</script>"


def step_spec(name: str, *, after: tuple[str, ...] = (), **more: Any) -> dict[str, object]:
    return {
        "componentRef": {"name": f"comp-{name}"},
        "taskInfo": {"name": name},
        **({"dependentTasks": list(after)} if after else {}),
        **more,
    }


@pytest.fixture
def spec_text() -> str:
    blessing = "pipelinechannel--evaluate-is_blessed"
    item = "pipelinechannel--loop-item-param-1"
    verdict = {"taskOutputParameter": {"producerTask": "evaluate", "outputParameterKey": "is_blessed"}}
    condition = {
        "inputs": {"parameters": {blessing: verdict}},
        "triggerPolicy": {"condition": f"inputs.parameter_values['{blessing}'] == true"},
    }
    loop = {"parameterIterator": {"itemInput": item, "items": {"raw": "[1, 2]"}}}
    inner = {"export": step_spec("export"), "deploy": step_spec("deploy", after=("export",))}
    steps = ("prepare-data", "train-distributed", "evaluate", "export", "deploy", "score")
    flag, number = {"parameterType": "BOOLEAN"}, {"parameterType": "NUMBER_INTEGER"}
    components: dict[str, dict[str, object]] = {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in steps}
    components["comp-evaluate"]["outputDefinitions"] = {"parameters": {"is_blessed": flag}}
    groups = {
        "comp-condition-1": {"dag": {"tasks": inner}, "inputDefinitions": {"parameters": {blessing: flag}}},
        "comp-for-loop-1": {
            "dag": {"tasks": {"score": step_spec("score")}},
            "inputDefinitions": {"parameters": {item: number}},
        },
    }
    return yaml.safe_dump(
        {
            "pipelineInfo": {"name": "train-and-deploy"},
            "root": {
                "dag": {
                    "tasks": {
                        "prepare-data": step_spec("prepare-data"),
                        "train-distributed": step_spec("train-distributed", after=("prepare-data",)),
                        "evaluate": step_spec("evaluate", after=("train-distributed", "prepare-data")),
                        "condition-1": step_spec("condition-1", after=("evaluate",), **condition),
                        "for-loop-1": step_spec("for-loop-1", after=("evaluate",), **loop),
                    }
                }
            },
            "components": {**components, **groups},
            "deploymentSpec": {"executors": {f"exec-{name}": {"container": {"image": "cpu"}} for name in steps}},
        }
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(
        id="20261122-120000-abcd",
        name=f"train {HOSTILE}",
        pipeline="train-and-deploy",
        state=State.FAILED,
        parameters={"source": HOSTILE, "params": {"units": 32}},
        folder=tmp_path / "run",
        created=START,
        started=START,
        finished=START + timedelta(seconds=100),
        error=f"evaluate failed {HOSTILE}",
        provenance={
            "git": [{"commit": "abc", "diff": f"-a\n+{HOSTILE}"}],
            "python": "3.11.7",
            "packages": {"keras": HOSTILE},
        },
    )


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    report = tmp_path / "report.html"
    report.write_text(f"<!doctype html><p id='inside'>statistics</p>{HOSTILE}")
    card = tmp_path / "card.md"
    card.write_text(f"# Card\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n{HOSTILE}")
    log = tmp_path / "log.txt"
    log.write_text(f"epoch 1\rstep 1\rstep 2\n\x1b[31mred\x1b[0m {HOSTILE}\n")
    metrics = Artifact(
        id="m", name="metrics", type="system.Metrics", uri="m", metadata={"accuracy": 0.9875, "loss": 0.1}
    )
    matrix = {
        "annotationSpecs": [{"displayName": "cat"}, {"displayName": HOSTILE}],
        "rows": [{"row": [8, 2]}, {"row": [1, 9]}],
    }
    points = [
        {"confidenceThreshold": 0.5, "recall": 0.8, "falsePositiveRate": 0.0},
        {"confidenceThreshold": 0.2, "recall": 1.0, "falsePositiveRate": 0.5},
    ]
    curves = Artifact(
        id="c",
        name="classification_metrics",
        type="system.ClassificationMetrics",
        uri="c",
        metadata={"confusionMatrix": matrix, "confidenceMetrics": points, "rocNote": "of class cat"},
    )
    html = Artifact(id="h", name="report", type="system.HTML", uri=str(report))
    markdown = Artifact(id="k", name="model_card", type="system.Markdown", uri=str(card))
    deployment = Artifact(
        id="d",
        name="deployment",
        type="system.Artifact",
        uri=str(tmp_path / "deployment"),
        metadata={
            "rest_url": "http://127.0.0.1:8501/v1/models/digits",
            "version": 2,
            "curl": "curl -d '{\"instances\": []}' http://127.0.0.1:8501/v1/models/digits:predict",
            "stop_command": "trainwright serve stop",
        },
    )
    return [
        make_task("prepare-data", 0, 10, outputs=Values(artifacts={"report": (html,)}), is_cached=True),
        make_task("train-distributed", 10, 60, log=log),
        make_task(
            "evaluate",
            60,
            70,
            state=State.FAILED,
            error=f"limit {HOSTILE}",
            error_detail=HOSTILE,
            log=log,
            outputs=Values(
                parameters={"is_blessed": True, "reasons": ["accuracy 0.99 is over 0.9"]},
                artifacts={"metrics": (metrics,), "classification_metrics": (curves,)},
            ),
        ),
        make_task("condition-1", 70, 100, kind=TaskKind.DAG),
        make_task("condition-1/export", 70, 80, outputs=Values(artifacts={"model_card": (markdown,)})),
        make_task("condition-1/deploy", 80, 100, outputs=Values(artifacts={"deployment": (deployment,)})),
        make_task("for-loop-1", 70, 90, kind=TaskKind.LOOP),
        make_task("for-loop-1/0", 70, 80, kind=TaskKind.ITERATION),
        make_task("for-loop-1/0/score", 70, 80),
        make_task("for-loop-1/1", 70, 90, kind=TaskKind.ITERATION),
        make_task("for-loop-1/1/score", 70, 90, state=State.RUNNING),
    ]


def make_task(path: str, start_s: float, end_s: float, *, kind: TaskKind = TaskKind.PYTHON, **more: Any) -> Task:
    parent, _, name = path.rpartition("/")
    attempts = () if kind != TaskKind.PYTHON else (Attempt(number=1, state=State.SUCCEEDED, started=START),)
    defaults = {"state": State.SUCCEEDED, "attempts": attempts}
    return Task(
        id=path,
        run_id="20261122-120000-abcd",
        name=name,
        path=path,
        parent_path=parent,
        kind=kind,
        component=f"comp-{name}",
        display_name=name,
        started=START + timedelta(seconds=start_s),
        finished=START + timedelta(seconds=end_s),
        **{**defaults, **more},
    )
