"""What a container's outputs name inside it is copied out; a file of this machine with the same path is never taken."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.contract import LeftBehind, StepFolder, build_executor_input, read_outputs
from trainwright_pipelines.engine.isolation.brought_out import Shared, bring_out
from trainwright_pipelines.engine.records import Values
from trainwright_pipelines.ir.spec import ArtifactSlot, Component

MODEL = Component(
    name="comp-a",
    input_parameters={},
    input_artifacts={},
    output_parameters={},
    output_artifacts={"model": ArtifactSlot(schema={"schemaTitle": "system.Model"})},
)


@pytest.fixture
def folder(tmp_path: Path) -> StepFolder:
    folder = StepFolder(tmp_path / "step")
    folder.make()
    return folder


def left(folder: StepFolder, image: Path, said: Mapping[str, Any], **options: Any) -> LeftBehind:
    """What is left of a step that says this of its model, in a container whose root is the folder `image`."""
    folder.executor_output.write_text(json.dumps({"artifacts": {"model": {"artifacts": [said]}}}))

    def copy_out(path: str, target: Path) -> bool:
        source = Path(path)
        if source.is_symlink():
            source = source.readlink()
        source = image / source.relative_to("/")
        if not source.exists():
            return False
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy(source, target)
        return True

    shared = Shared(folder=folder, work=Path("/app"), **options)
    executor_input = build_executor_input(MODEL, Values(), folder, folder.artifacts)
    brought = bring_out(shared, copy_out)
    return read_outputs(MODEL, executor_input, folder, task_id="t", needs_artifacts=False, brought=brought)


@pytest.mark.parametrize("key", ["custom_path", "customPath", "uri"])
def test_it_is_the_containers_file_and_not_that_of_this_machine(folder: StepFolder, tmp_path: Path, key: str) -> None:
    here, there = tmp_path / "weights", tmp_path / "image" / tmp_path.relative_to("/") / "weights"
    there.parent.mkdir(parents=True)
    here.write_text("of this machine")
    there.write_text("of the container")
    [artifact] = left(folder, tmp_path / "image", {key: str(here)}).values.artifacts["model"]
    assert artifact.uri == str(folder.artifacts / "model")
    assert Path(artifact.uri).read_text() == "of the container"
    there.unlink()
    folder.make()
    ended = left(folder, tmp_path / "image", {key: str(here), "metadata": {"a": 1}})
    assert ended.values.artifacts["model"][0].digest is None
    assert [f"nothing was written to {here};" in each for each in ended.warnings] == [True] * (key != "uri")


def test_a_relative_path_begins_in_the_working_folder(folder: StepFolder, tmp_path: Path) -> None:
    (tmp_path / "app" / "out").mkdir(parents=True)
    (tmp_path / "app" / "out" / "a").write_text("1")
    (tmp_path / "app" / "out" / "b").symlink_to("a")
    left(folder, tmp_path, {"custom_path": "out"})
    assert (folder.artifacts / "model" / "b").read_text() == "1"


def test_a_link_into_the_container_becomes_what_it_leads_to(folder: StepFolder, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "w").write_text("weights")
    (folder.artifacts / "model").mkdir()
    (folder.artifacts / "model" / "own").write_text("own")
    (folder.artifacts / "model" / "same").symlink_to("own")
    (folder.artifacts / "model" / "led").symlink_to("/opt/w")
    left(folder, tmp_path, {})
    assert (folder.artifacts / "model" / "same").readlink() == Path("own")
    assert not (folder.artifacts / "model" / "led").is_symlink()
    assert (folder.artifacts / "model" / "led").read_text() == "weights"
    (folder.artifacts / "model" / "gone").symlink_to("/etc/passwd")
    with pytest.raises(RunFailed, match="outputs/model/gone among its outputs is a link to /etc/passwd, and its cont"):
        left(folder, tmp_path, {})


@pytest.mark.parametrize("leads_to", ["/etc/passwd", "../../x"])
def test_a_link_out_of_a_copy_is_told_and_not_followed_here(folder: StepFolder, tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "latest").symlink_to(leads_to)
    with pytest.raises(
        RunFailed, match=f"its output /data cannot be copied out .*latest in it is a link to {leads_to}"
    ):
        left(folder, tmp_path, {"custom_path": "/data"})


def test_what_this_machine_sees_is_left_where_it_is(folder: StepFolder, tmp_path: Path) -> None:
    (folder.work / "made").write_text("1")
    [own] = left(folder, tmp_path / "none", {"custom_path": str(folder.work / "made")}).values.artifacts["model"]
    assert Path(own.uri).read_text() == "1"
    [remote] = left(folder, tmp_path / "none", {"uri": "gs://bucket/model"}).values.artifacts["model"]
    assert remote.uri == "gs://bucket/model"
    said = {"uri": "/claim/model"}
    [kept] = left(folder, tmp_path / "none", said, volumes=[Path("/claim")]).values.artifacts["model"]
    assert kept.uri == "/claim/model"
    folder.executor_output.write_text("[1")
    assert bring_out(Shared(folder=folder, work=folder.work), lambda *_: False) == {}
