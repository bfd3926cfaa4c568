"""A run in one archive: it opens elsewhere, and tells nothing of this machine."""

import json
import tarfile
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine.leases import acquire_lease
from trainwright_pipelines.engine.records import Artifact, Run, Task, Values
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.service.archive import export_run
from trainwright_pipelines.service.portable import Portable

PASSWORD = "hunter2-hunter2"


class Links(HTMLParser):
    """Where a page leads to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("href", "src")]


@pytest.fixture
def store(tmp_path: Path, run: Run, tasks: list[Task], spec_text: str) -> Store:
    """A run with a folder artifact of its own, one that it took from another run, and one that lies elsewhere."""
    store = Store(tmp_path / "home")
    folder = store.home / "runs" / "r"
    (store.home / "secrets.yaml").write_text(f"secrets: {{db: {{password: {PASSWORD}}}}}")
    model = folder / "steps" / "train-distributed" / "outputs" / "model"
    (model / "module" / "__pycache__").mkdir(parents=True)
    (model / "module" / "model.py").write_text(f'DATA = "{tmp_path}/data.csv"\nMASK_TOKEN = "<mask-of-it>"\n')
    (model / "module" / "__pycache__" / "model.pyc").write_bytes(b"x")
    (model / "weights.bin").write_bytes(b"\xff\x00" * 500)
    other = store.home / "runs" / "other" / "steps" / "prepare" / "outputs" / "dataset"
    other.parent.mkdir(parents=True)
    other.write_text("rows")
    (tmp_path / "data.csv").write_text("a,b")
    log = folder / "steps" / "train-distributed" / "log-1.txt"
    log.write_text(f"reading {tmp_path}/data.csv with {PASSWORD}\nand {folder}/steps\nhttp://h:1/v1/models/{run.id}\n")
    given: dict[str, Any] = {"name": "x", "type": "system.Dataset", "digest": "d"}
    mine = Artifact(id="mine", uri=str(model), **given)
    taken = Artifact(id="taken", uri=str(other), **given)
    outside = Artifact(id="outside", uri=str(tmp_path / "data.csv"), **given)
    outputs = Values(
        parameters={"api_key": "abcdefgh", "where": str(model)},
        artifacts={"model": (mine,), "dataset": (taken,), "source": (outside,)},
    )
    changed = [
        replace(task, outputs=outputs, log=log, folder=log.parent) if task.path == "train-distributed" else task
        for task in tasks
    ]
    made_of = {"folder": str(tmp_path), "inputs": {"source": {"path": str(tmp_path / "data.csv"), "digest": "d"}}}
    parameters = {"source": str(tmp_path / "data.csv"), "password": "abc"}
    store.add_run(replace(run, folder=folder, parameters=parameters, provenance=made_of), spec_text)
    for task in changed:
        store.save_task(task)
    return store


def unpacked(file: Path, folder: Path) -> dict[str, bytes]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    else:
        with tarfile.open(file) as packed:
            packed.extractall(folder, filter="data")
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_an_archive_opens_elsewhere_and_tells_nothing_of_this_machine(
    store: Store, run: Run, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"out{suffix}"
    exported = export_run(store, run.id, file)
    found = unpacked(file, tmp_path / "elsewhere")
    top = tmp_path / "elsewhere" / run.id
    outputs = f"{run.id}/steps/train-distributed/outputs"
    assert {name for name in found if name.startswith(outputs)} == {
        f"{outputs}/model/module/model.py",
        f"{outputs}/model/weights.bin",
        f"{outputs}/dataset",
    }
    assert exported.files == len(found)
    assert exported.left_out[-1] == "train-distributed source"
    assert found[f"{outputs}/model/weights.bin"] == b"\xff\x00" * 500
    everything = b"\n".join(found.values()).decode(errors="replace")
    for untold in (str(tmp_path), PASSWORD, "abcdefgh", '"abc"', str(Path.home())):
        assert untold not in everything, untold
    assert found[f"{outputs}/model/module/model.py"].decode() == 'DATA = "…/data.csv"\nMASK_TOKEN = "<mask-of-it>"\n'
    log = found[f"{run.id}/steps/train-distributed/log.txt"].decode()
    assert log == f"reading …/data.csv with ***\nand ./steps\nhttp://h:1/v1/models/{run.id}\n"
    links = [each for each in Links((top / "index.html").read_text()).found if not each.startswith(("#", "data:"))]
    assert sorted(links) == ["steps/train-distributed/outputs/dataset", "steps/train-distributed/outputs/model"]
    assert all((top / each).exists() for each in links)
    record = json.loads((top / "record.json").read_text())
    assert (record["run"]["id"], record["run"]["state"], record["format"]) == (run.id, "FAILED", 1)
    train = next(task for task in record["tasks"] if task["path"] == "train-distributed")
    assert train["outputs"]["artifacts"]["model"][0]["uri"] == "steps/train-distributed/outputs/model"
    assert train["outputs"]["parameters"] == {"api_key": "***", "where": "./steps/train-distributed/outputs/model"}


def test_an_export_that_fails_leaves_nothing(
    store: Store, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.zip"
    file.write_text("the one before")
    monkeypatch.setattr(zipfile.ZipFile, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        export_run(store, run.id, file)
    assert file.read_text() == "the one before"
    assert not list(tmp_path.glob(".partial*"))
    assert not list(store.home.glob(".export*"))


def test_an_archive_of_another_kind_is_refused(store: Store, run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"ends with \.tar\.gz or \.zip, got out\.rar"):
        export_run(store, run.id, tmp_path / "out.rar")
    with pytest.raises(InvalidSetting, match="make it first"):
        export_run(store, run.id, tmp_path / "missing" / "out.zip")
    with pytest.raises(InvalidSetting, match="cannot be written: File name too long"):
        export_run(store, run.id, tmp_path / f"{'x' * 251}.zip")


def test_a_run_under_way_is_exported_once_it_has_ended(store: Store, run: Run, tmp_path: Path) -> None:
    acquire_lease(store.engine, run.id)
    with pytest.raises(InvalidSetting, match="once it has ended"):
        export_run(store, run.id, tmp_path / "out.zip")


def test_the_command_names_the_archive_after_the_run(
    store: Store, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(store.home))
    monkeypatch.chdir(tmp_path)
    assert run_command(["runs", "export", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / f"{run.id}.tar.gz")
    assert (tmp_path / f"{run.id}.tar.gz").is_file()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("open /tmp/here/x.csv: it", "open …/x.csv: it"),
        ("file:///tmp/x.csv", "…/x.csv"),
        ("http://host/tmp/x and a/tmp/b", "http://host/tmp/x and a/tmp/b"),
        ("/v1/models/m:predict and 1/2 of /usr/bin/env", "/v1/models/m:predict and 1/2 of /usr/bin/env"),
        ("TOKEN = 'abcdefghi'", "TOKEN = '***'"),
        ("/data of mine/runs/r/log", "./log"),
    ],
)
def test_paths_of_this_machine_lose_all_but_their_last_part(text: str, told: str) -> None:
    assert Portable(places={"/data of mine/runs/r": "."}).text(text) == told
