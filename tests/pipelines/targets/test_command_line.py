"""`trainwright run`, `submit` and `compile` against the doubles: what a person types, sees and gets as exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.main import cli
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.targets.lowering import to_yaml


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


@pytest.fixture(params=["kubeflow", "vertex"])
def remote(request: pytest.FixtureRequest) -> tuple[Any, list[str]]:
    """The double of a service, and the words that lead there."""
    server = request.getfixturevalue(request.param)
    options = {
        "kubeflow": [f"host={server.address}"],
        "vertex": [f"endpoint={server.address}", "project=p"],
    }[request.param]
    options += ["pipeline_root=gs://bucket/root", "images=cpu=registry.example/t:1"]
    return server, ["--target", request.param, *(word for option in options for word in ("--option", option))]


@pytest.mark.parametrize("command", ["submit", "run"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [([], "set serving.enabled=false"), (["serving.enabled=false", "cluster.worker=2"], "set cluster={}")],
)
def test_a_run_that_would_serve_or_spread_inside_one_pod_is_not_sent(
    trainwright: Any, remote: Any, storage: Any, command: str, settings: list[str], message: str
) -> None:
    server, words = remote
    given = [word for setting in settings for word in ("--set", setting)]
    with pytest.raises(InvalidSetting, match=message):
        trainwright(command, "train_and_deploy", *words, *given)
    assert server.requests == storage.requests == []


def test_a_run_without_deployment_is_sent(trainwright: Any, remote: Any, storage: Any) -> None:
    server, words = remote
    assert trainwright("submit", "train_and_deploy", *words, "--set", "serving.enabled=false").exit_code == 0
    assert len(server.of("POST", "/(runs|pipelineJobs)$")) == 1


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_compile_goes_on_and_warns(trainwright: Any, target: str, caplog: pytest.LogCaptureFixture) -> None:
    result = trainwright("compile", "train_and_deploy", "--target", target)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["pipelineInfo"]["name"] == "train-and-deploy"
    [warning] = caplog.messages
    assert "deploy-serving would serve the model from inside its own pod" in warning
    assert trainwright("compile", "batch_score", "--target", target).exit_code == 0
    assert len(caplog.messages) == 1
