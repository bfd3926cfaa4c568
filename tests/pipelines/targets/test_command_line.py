"""`trainwright run`, `submit` and `compile` against the doubles: what a person types, sees and gets as exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from trainwright_pipelines.cli.main import cli
from trainwright_pipelines.targets.lowering import to_yaml
from trainwright_pipelines.targets.protocol import CompiledPipeline


@pytest.fixture
def trainwright(pipeline: CompiledPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "sample.yaml").write_text(to_yaml(pipeline))
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments], catch_exceptions=False)

    return call


def test_run_on_kubeflow_uploads_the_module_and_ends_with_the_runs_state(
    trainwright: Any, kubeflow: Any, storage: Any, module_file: Path
) -> None:
    kubeflow.states = [{"state": "FAILED", "error": {"code": 13, "message": "one step failed"}}]
    options = [f"host={kubeflow.address}", "pipeline_root=gs://bucket/root", "images=cpu=registry.example/t:1"]
    given = [word for option in options for word in ("--option", option)]
    result = trainwright("run", "sample.yaml", "--target", "kubeflow", *given, "--set", "module=model.py")
    assert result.exit_code == 1
    assert "FAILED  one step failed" in result.output
    [run] = kubeflow.of("POST", "/runs$")
    assert run.json["runtime_config"]["parameters"]["module"].startswith("gs://bucket/root/modules/")


def test_submit_to_vertex_reads_the_configuration_file(trainwright: Any, vertex: Any, tmp_path: Path) -> None:
    settings = {
        "endpoint": vertex.address,
        "project": "p",
        "region": "europe-west4",
        "pipeline_root": "gs://bucket/root",
        "images": "cpu=registry.example/t:1",
    }
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.yaml").write_text(yaml.safe_dump({"targets": {"vertex": settings}}))
    result = trainwright("submit", "sample.yaml", "--target", "vertex", "--set", "module=gs://b/m.py", "--json")
    assert result.exit_code == 0
    submission = json.loads(result.stdout)
    assert submission["run_id"].startswith("projects/p/locations/europe-west4/pipelineJobs/sample-")


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_compile_needs_no_account_and_no_address(trainwright: Any, target: str, tmp_path: Path) -> None:
    result = trainwright("compile", "sample.yaml", "--target", target, "-o", str(tmp_path / "out.yaml"))
    assert result.exit_code == 0
    assert yaml.safe_load((tmp_path / "out.yaml").read_text())["pipelineInfo"]["name"] == "sample"
