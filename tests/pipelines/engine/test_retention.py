"""Old runs and what nobody needs go; what is live, served, or needed to resume stays, and it is said why."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidData
from trainwright_components.home import Home
from trainwright_components.processes.locks import locked
from trainwright_components.processes.orphans import owned_folder
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.execution import now
from trainwright_pipelines.engine.leases import acquire_lease
from trainwright_pipelines.engine.leftovers import KINDS, Leftover, find_leftovers, remove_leftover
from trainwright_pipelines.engine.records import Artifact, Run, State, Task, TaskKind, Values
from trainwright_pipelines.engine.retention import choose_runs, size_of
from trainwright_pipelines.engine.store import Store

OLD_S = 7200.0
Command = Callable[..., tuple[int, Any]]


def add_run(store: Store, name: str, *, days: float, state: State = State.SUCCEEDED, **more: Any) -> Run:
    folder = store.home / "runs" / name
    (folder / "workspace").mkdir(parents=True)
    (folder / "run.html").write_text("x" * 1000)
    run = Run(
        id=name,
        name=name,
        pipeline="p",
        state=state,
        parameters={},
        folder=folder,
        created=now() - timedelta(days=days),
        **more,
    )
    store.add_run(run, "spec")
    return run


def add_task(store: Store, run: Run, *, gives: Artifact | None = None, takes: Artifact | None = None) -> Task:
    task = Task(
        id=f"{run.id}-task",
        run_id=run.id,
        name="step",
        path="step",
        parent_path="",
        kind=TaskKind.PYTHON,
        component="comp-step",
        display_name="step",
        state=State.SUCCEEDED,
        folder=run.folder / "steps" / "step",
        inputs=Values(artifacts={"data": (takes,)} if takes else {}),
        outputs=Values(artifacts={"out": (gives,)} if gives else {}),
    )
    store.save_task(task)
    return task


def artifact_of(run: Run) -> Artifact:
    path = run.folder / "steps" / "step" / "outputs" / "out"
    path.parent.mkdir(parents=True)
    path.write_text("data!")
    return Artifact(
        id="a", name="out", type="system.Dataset", uri=str(path), digest="d", producer_task_id=f"{run.id}-task"
    )


def age(path: Path, seconds: float = OLD_S) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def kept(store: Store, **asked: Any) -> dict[str, str]:
    return {each.run.id: each.kept_because for each in choose_runs(store, **asked)}


def test_old_runs_go_and_the_newest_stay(store: Store) -> None:
    for days in (1, 5, 8, 20):
        add_run(store, f"r{days}", days=days)
    assert list(kept(store, older_than=timedelta(days=7))) == ["r8", "r20"]
    assert list(kept(store, keep=3)) == ["r20"]
    assert list(kept(store, keep=1, older_than=timedelta(days=3))) == ["r5", "r8", "r20"]
    assert set(kept(store, keep=0).values()) == {""}


def test_what_is_live_or_served_or_can_be_resumed_stays_and_it_is_said_why(store: Store) -> None:
    add_run(store, "served", days=9)
    add_run(store, "replaced", days=9)
    add_run(store, "failed", days=9, state=State.FAILED)
    add_run(store, "running", days=9, state=State.RUNNING)
    add_run(store, "killed", days=9, state=State.RUNNING)
    acquire_lease(store.engine, "running")
    entries = [
        {"version": 1, "event": "published", "run": "replaced"},
        {"version": 2, "event": "published", "run": "served"},
    ]
    (store.home / "models" / "mine").mkdir(parents=True)
    (store.home / "models" / "mine" / ".deployments.json").write_text(json.dumps(entries))
    assert kept(store, keep=0) == {
        "served": "version 2 of mine, which is served, comes from it",
        "replaced": "",
        "failed": "it can be resumed; with --state failed it goes too",
        "running": "it is being executed",
        "killed": "it can be resumed; with --state interrupted it goes too",
    }
    assert kept(store, keep=0, state="failed") == {"failed": ""}
    assert kept(store, keep=0, state="running") == {"running": "it is being executed"}


def test_no_run_goes_while_what_is_served_is_not_known(store: Store) -> None:
    add_run(store, "served", days=9)
    (store.home / "models" / "mine").mkdir(parents=True)
    (store.home / "models" / "mine" / ".deployments.json").write_text('[{"version": 1, "event": "publ')
    with pytest.raises(InvalidData, match=r"deployments\.json, which says from which run the served model is"):
        choose_runs(store)


@pytest.fixture
def trainwright(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(store.home))

    def call(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run_command([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def test_a_dry_run_deletes_nothing_and_says_the_same_bytes_as_are_freed(store: Store, trainwright: Command) -> None:
    for days in (1, 8, 9):
        add_run(store, f"r{days}", days=days)
    code, said = trainwright("runs", "delete", "--older-than", "7d", "--dry-run")
    assert (code, said["freed_bytes"]) == (0, 0)
    assert [(each["run"], each["size_bytes"]) for each in said["would_delete"]] == [("r8", 1000), ("r9", 1000)]
    assert len(store.run_ids()) == 3
    code, refused = trainwright("runs", "delete", "--keep", "1")
    assert (code, refused["error"]["message"]) == (2, "--json does not ask: add --yes, or --dry-run")
    _, said = trainwright("runs", "delete", "--older-than", "7d", "--yes")
    assert said["freed_bytes"] == 2000
    assert store.run_ids() == {"r1"}
    assert [each.name for each in (store.home / "runs").iterdir()] == ["r1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete",),
        ("delete", "r", "--keep", "2"),
        ("delete", "r", "--state", "failed"),
        ("delete", "--older-than", "7"),
        ("delete", "--older-than", "999999w"),
    ],
)
def test_a_deletion_that_is_not_clear_is_refused(trainwright: Command, arguments: tuple[str, ...]) -> None:
    assert trainwright("runs", *arguments)[0] == 2


def test_artifacts_of_a_deleted_run_stay_while_another_uses_them(store: Store) -> None:
    giver, taker = add_run(store, "giver", days=9), add_run(store, "taker", days=1)
    artifact = artifact_of(giver)
    add_task(store, giver, gives=artifact)
    add_task(store, taker, takes=artifact)
    home = Home(root=store.home)
    runs.delete("giver", store=store)
    age(giver.folder)
    assert artifact.path.read_text() == "data!"
    assert not (giver.folder / "run.html").exists()
    assert [each for each in find_leftovers(store, home) if each.kind != "temporary"] == []  # which other tests leave
    runs.delete("taker", store=store)
    age(giver.folder)
    [left] = [each for each in find_leftovers(store, home) if each.kind != "temporary"]
    assert (left.path, left.size_bytes) == (giver.folder, 5)
    remove_leftover(left)
    assert list(home.runs.iterdir()) == []


def test_runs_deleted_together_leave_nothing_to_each_other(store: Store, trainwright: Command) -> None:
    giver, taker = add_run(store, "giver", days=9), add_run(store, "taker", days=8)
    artifact = artifact_of(giver)
    add_task(store, giver, gives=artifact)
    add_task(store, taker, takes=artifact)
    assert trainwright("runs", "delete", "--keep", "0", "--yes")[1]["freed_bytes"] == 2005
    assert list((store.home / "runs").iterdir()) == []


def test_gc_finds_what_nobody_needs_by_kind_and_leaves_the_rest(
    store: Store, tmp_path: Path, trainwright: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("trainwright_pipelines.engine.leftovers._SHORT_FOLDER", tmp_path / "temporary")
    home = store.home
    run = add_run(store, "r", days=1)
    add_task(store, run)
    live = add_run(store, "live", days=1, state=State.RUNNING)
    acquire_lease(store.engine, live.id)
    scratch = run.folder / "steps" / "step" / "tmp"
    gone: dict[str, list[Path]] = {
        "runs": [
            home / "runs" / "half-made" / "pipeline.yaml",
            scratch / "volumes" / "secret",
        ],
        "containers": [],
        "cache": [home / "compiled" / "stale.json"],
        "environments": [
            home / "environments" / "half.new-1a2b3c4d" / "pyvenv.cfg",
            home / "environments" / "unused" / ".complete",
        ],
        "models": [home / "models" / "mine" / ".candidate-x" / "3" / "saved_model.pb"],
        "temporary": [tmp_path / "temporary" / "trainwright-tune-x" / "log", home / "errors" / "trainwright-1.txt"],
    }
    stays = [
        home / "runs" / "live" / "steps" / "s" / "tmp" / "f",
        home / "runs" / "just-made" / "pipeline.yaml",
        home / "runs" / "of-another-record" / "steps" / "s" / "log-1.txt",
        home / "runs" / "of-another-record" / "pipeline.yaml",
        home / "environments" / "used" / ".complete",
        home / "environments" / "installing.new-1a2b3c4d" / "pyvenv.cfg",
        home / "models" / "mine" / "1" / "saved_model.pb",
        home / "models" / "publishing" / ".candidate-y" / "2" / "saved_model.pb",
        tmp_path / "temporary" / "trainwright-copy-young" / "f",
    ]
    for place, file in enumerate([*(each for files in gone.values() for each in files), *stays]):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x" * 10 ** (place % 4))
    expected = {kind: sum(each.stat().st_size for each in files) for kind, files in gone.items()}
    for path in [run.folder / "steps" / "step" / "tmp", *(home / "models").glob("*/.candidate-*")]:
        age(path)
    for name in ("half-made", "of-another-record"):
        age(home / "runs" / name)
    age(tmp_path / "temporary" / "trainwright-tune-x", 2 * 86_400)
    for path in (home / "environments" / "unused" / ".complete", home / "errors" / "trainwright-1.txt"):
        age(path, 40 * 86_400)
    with locked(home / "environments" / "installing.lock"), locked(home / "models" / "publishing" / ".deploy.lock"):
        code, said = trainwright("gc", "--dry-run")
        assert (code, said["bytes"]) == (0, expected)
        assert list(said["bytes"]) == list(KINDS)
        assert all(each.exists() for files in gone.values() for each in files)
        assert trainwright("gc", "--yes")[1]["freed_bytes"] == sum(expected.values())
        assert trainwright("gc", "--dry-run")[1]["found"] == []
    assert [each for files in gone.values() for each in files if each.exists()] == []
    assert [each for each in stays if not each.exists()] == []


def test_a_folder_whose_process_was_killed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "import os, signal; from trainwright_components.processes.orphans import owned_folder\n"
        "with owned_folder('trainwright-server-'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with owned_folder("trainwright-server-") as one, owned_folder("trainwright-server-") as other:
        assert sorted(tmp_path.iterdir()) == sorted((one, other))
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_bytes(bytes(300))
    (tmp_path / "a" / "g").write_bytes(bytes(11))
    assert size_of(tmp_path) == 311
    assert size_of(tmp_path / "missing") == 0


def test_what_may_not_be_removed_is_not_counted_as_removed(tmp_path: Path) -> None:
    """Not even root may remove a file of /proc."""
    fixed = Leftover(kind="temporary", path=Path("/proc/self/status"), why="", size_bytes=1)
    assert not remove_leftover(fixed)
    gone = Leftover(kind="temporary", path=tmp_path / "gone", why="", size_bytes=1)
    assert remove_leftover(gone)
