"""Each target keeps the contract of `Target`: here, and against doubles of the services."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_components.home import Home
from trainwright_pipelines.cli.configuration import make_target
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.targets import DEFAULT_TARGET, TARGETS
from trainwright_pipelines.targets.kubeflow.target import Kubeflow
from trainwright_pipelines.targets.protocol import RunStatus, Target
from trainwright_pipelines.targets.vertex.target import Vertex

STATES = {
    "kubeflow": ("RUNNING", "SUCCEEDED"),
    "vertex": ("PIPELINE_STATE_RUNNING", "PIPELINE_STATE_SUCCEEDED"),
}
"""What the services answer."""
IMAGES = "images=cpu=registry.example/trainwright:1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / "home"))
    return Home(root=tmp_path / "home")


@pytest.fixture
def target(name: str, home: Home, request: pytest.FixtureRequest) -> Target:
    """The target against its service, which ends each run after one look."""
    if name == "local":
        return make_target(name, (), home)
    server = request.getfixturevalue(name)
    storage = request.getfixturevalue("storage")
    root = "pipeline_root=gs://bucket/runs"
    options = {
        "kubeflow": (f"host={server.address}", root, IMAGES),
        "vertex": ("project=p", f"endpoint={server.address}", root, IMAGES),
    }
    made = make_target(name, options[name], home)
    assert storage.address
    assert isinstance(made, Kubeflow | Vertex)
    return replace(made, poll_s=0.01)


def test_one_of_them_is_the_default() -> None:
    assert DEFAULT_TARGET in TARGETS


@pytest.mark.parametrize("name", TARGETS)
class TestTarget:
    """The contract."""

    def test_it_is_found_by_its_name_and_describes_its_options(self, name: str, target: Target) -> None:
        assert target.name == name
        assert all(option.isidentifier() and text for option, text in target.options.items())

    def test_an_unknown_option_is_refused_with_the_nearest(self, name: str, home: Home) -> None:
        with pytest.raises(InvalidSetting, match=f"target {name} has no option 'imagess'"):
            make_target(name, ["imagess=x"], home)

    def test_lowering_contacts_nobody_and_keeps_the_pipeline(
        self, name: str, home: Home, pipeline: CompiledPipeline
    ) -> None:
        first, *_ = make_target(name, (), home).lower(pipeline).values()
        documents = list(yaml.safe_load_all(first))
        assert documents[0]["pipelineInfo"]["name"] == pipeline.name
        assert documents[0]["root"]["dag"]["tasks"].keys() == pipeline.spec["root"]["dag"]["tasks"].keys()

    def test_a_malformed_pipeline_is_refused(self, name: str, target: Target, pipeline: CompiledPipeline) -> None:
        broken = CompiledPipeline(name="broken", spec={**pipeline.spec, "components": {}})
        with pytest.raises(InvalidPipeline, match="which is missing"):
            target.submit(broken, {"module": "gs://bucket/model.py"})


@pytest.mark.parametrize("name", [name for name in TARGETS if name != DEFAULT_TARGET])
def test_a_run_elsewhere_is_followed_until_it_ends(
    name: str, target: Target, pipeline: CompiledPipeline, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(name)
    server.states = [{"state": state} for state in STATES[name]]
    submission = target.submit(pipeline, {"module": "gs://bucket/model.py"})
    assert (submission.target, bool(submission.run_id), bool(submission.url)) == (name, True, True)
    seen: list[RunStatus] = []
    last = target.follow(submission, seen.append)
    assert [status.state for status in seen] == ["RUNNING", "SUCCEEDED"]
    assert last == seen[-1]
