"""Runs side by side: what differs, and which is better by each metric."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.pipelines.conftest import make_task

from trainwright_components.images import LOGICAL_PREFIX
from trainwright_pipelines.engine.records import Artifact, Run, Task, Values
from trainwright_pipelines.views.comparison import Comparison, compare_runs


def trained(
    run: Run, name: str, tmp_path: Path, *, module: str, params: Mapping[str, Any], **scores: float
) -> tuple[Run, list[Task]]:
    """A run that trained and evaluated; its metrics are those of the evaluation."""
    model = tmp_path / name
    (model / "module").mkdir(parents=True)
    (model / "module" / "model.py").write_text(module)
    (model / "params.json").write_text(json.dumps(params))
    (model / "training.json").write_text(json.dumps({"settings": {"epochs": 3, "batch_size": 32}}))
    digest = hashlib.sha256(module.encode()).hexdigest()
    code = Artifact(id=f"{name}-c", name="m", type="system.Artifact", uri="m.py", digest=digest)
    made = Artifact(id=f"{name}-m", name="model", type="system.Model", uri=str(model), digest="d")
    data = Artifact(id=f"{name}-d", name="dataset", type="system.Dataset", uri="d", digest=name * 20)
    metrics = Artifact(id=f"{name}-e", name="metrics", type="system.Metrics", uri="e", metadata={**scores, "rows": 40})
    tasks = [
        make_task("prepare-data", 0, 1, outputs=Values(artifacts={"dataset": (data,)})),
        make_task(
            "train-distributed",
            1,
            2,
            inputs=Values(artifacts={"module": (code,)}),
            outputs=Values(artifacts={"model": (made,)}),
        ),
        make_task("evaluate", 2, 3, outputs=Values(artifacts={"metrics": (metrics,)})),
    ]
    made_of = {"python": "3.11.7", "packages": {"keras": "3.12" if name == "a" else "3.13", "numpy": "2.0"}}
    return replace(run, id=name, parameters={"params": dict(params), "source": "x.csv"}, provenance=made_of), tasks


def rows(comparison: Comparison, section: str) -> dict[str, tuple[Any, ...]]:
    return {each.name: each.values for each in comparison.sections.get(section, ())}


def test_only_what_differs_is_told_and_metrics_with_the_best(run: Run, tmp_path: Path) -> None:
    one = trained(run, "a", tmp_path, module="A = 1\n", params={"units": 8}, accuracy=0.9, log_loss=0.4, auc=0.7)
    two = trained(run, "b", tmp_path, module="A = 2\n", params={"units": 16}, accuracy=0.8, log_loss=0.2, auc=0.7)
    three = trained(run, "c", tmp_path, module="A = 1\n", params={"units": 8}, accuracy=0.9, auc=0.7)
    found = compare_runs([one, two, three])
    assert rows(found, "parameters") == {"params.units": (8, 16, 8)}
    assert rows(found, "hyperparameters") == {"params.units": (8, 16, 8)}
    assert rows(found, "data") == {"prepare-data dataset": ("a" * 12, "b" * 12, "c" * 12)}
    assert rows(found, "versions") == {"package keras": ("3.12", "3.13", "3.13")}
    assert [(each.name, each.values, each.more_is_better, each.best) for each in found.sections["metrics"]] == [
        ("evaluate accuracy", (0.9, 0.8, 0.9), True, (0, 2)),
        ("evaluate log_loss", (0.4, 0.2, None), False, (1,)),
        ("evaluate auc", (0.7, 0.7, 0.7), True, ()),
    ]
    assert not found.is_of_same_data
    assert found.module_differences == {"b": "--- a/model.py\n+++ b/model.py\n@@ -1 +1 @@\n-A = 1\n+A = 2\n"}


def test_no_run_is_best_by_what_is_neither_more_nor_less(run: Run, tmp_path: Path) -> None:
    """A mean error of -9 is no better than one of 0.1, and a model of folds that spread is no better for that."""
    one = trained(run, "a", tmp_path, module="", params={}, mean_error=-9.0, folds_rmse_mean=1.0, folds_r2_std=0.5)
    two = trained(run, "b", tmp_path, module="", params={}, mean_error=0.1, folds_rmse_mean=2.0, folds_r2_std=0.1)
    found = compare_runs([one, two]).sections["metrics"]
    assert [(each.name, each.more_is_better, each.best) for each in found] == [
        ("evaluate mean_error", None, ()),
        ("evaluate folds_rmse_mean", False, (0,)),
        ("evaluate folds_r2_std", None, ()),
    ]


def test_a_run_that_trained_nothing_is_compared_by_what_it_has(run: Run, tmp_path: Path) -> None:
    one = trained(run, "a", tmp_path, module="A = 1\n", params={"units": 8}, accuracy=0.9)
    found = compare_runs([one, (replace(run, id="b", parameters={}, provenance={}), [])])
    assert rows(found, "parameters") == {"params.units": (8, None), "source": ("x.csv", None)}
    assert rows(found, "metrics") == {"evaluate accuracy": (0.9, None)}
    assert found.sections["metrics"][0].best == ()
    assert found.module_differences == {}


def test_a_run_does_not_differ_from_one_like_it(run: Run, tmp_path: Path) -> None:
    one = trained(run, "a", tmp_path, module="A = 1\n", params={}, accuracy=float("nan"))
    found = compare_runs([one, (replace(one[0], id="again"), one[1])])
    assert set(found.sections) == {"metrics"}
    assert found.is_of_same_data
    assert found.sections["metrics"][0].best == ()


def spec_of(program: str) -> str:
    """A pipeline of one component of somebody's and one of ours, which differs by its command alone."""
    images = {"train": "python:3.11", "evaluate": f"{LOGICAL_PREFIX}cpu"}
    return json.dumps(
        {
            "schemaVersion": "2.1.0",
            "sdkVersion": "kfp-2.17.0",
            "pipelineInfo": {"name": "two"},
            "root": {
                "dag": {
                    "tasks": {
                        name: {"taskInfo": {"name": name}, "componentRef": {"name": f"comp-{name}"}} for name in images
                    }
                }
            },
            "components": {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in images},
            "deploymentSpec": {
                "executors": {
                    f"exec-{name}": {"container": {"image": image, "command": ["sh", "-c", program]}}
                    for name, image in images.items()
                }
            },
        }
    )


def test_code_and_metrics_of_steps_that_are_not_ours_are_compared(run: Run) -> None:
    def of(name: str, accuracy: float) -> tuple[Run, list[Task]]:
        scores = Artifact(id=name, name="scores", type="system.Metrics", uri="s", metadata={"accuracy": accuracy})
        outputs = Values(artifacts={"scores": (scores,)})
        tasks = [make_task("train", 0, 1, outputs=outputs), make_task("evaluate", 1, 2)]
        images = ("python:3.11", f"{LOGICAL_PREFIX}cpu")
        named = [
            replace(task, image=image, component=f"comp-{task.name}") for task, image in zip(tasks, images, strict=True)
        ]
        return replace(run, id=name, provenance={}), named

    found = compare_runs([of("a", 0.5), of("b", 0.7)], [spec_of("one\ntwo\n"), spec_of("one\n2\n")])
    assert rows(found, "metrics") == {"train accuracy": (0.5, 0.7)}
    assert list(rows(found, "code")) == ["train"]
    assert found.code_differences["b"].splitlines()[:2] == ["--- a/train", "+++ b/train"]
    assert [line for line in found.code_differences["b"].splitlines()[2:] if line[0] in "+-"] == ["-two", "+2"]
    assert compare_runs([of("a", 0.5), of("b", 0.5)], [spec_of("one")] * 2).code_differences == {}
