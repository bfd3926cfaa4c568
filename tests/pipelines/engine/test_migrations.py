"""Homes of other releases: those of older ones are brought up to date, those of newer ones refused.

`homes/3d8955e.tar.gz` was written by the code of that commit, under /srv/trainwright, on a machine called `node`: runs
that succeeded, failed and were killed, and a tuned one. Files that nobody looks at again (models, datasets) were taken
out, and the name of the machine's kernel in the provenance was replaced.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from sqlalchemy import inspect, text

from trainwright import list_runs
from trainwright_components.deploy_serving.history import read_history
from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.model_server.operation.serving_home import ServingHome
from trainwright_components.tuning.store import TrialStore
from trainwright_pipelines.cli.health import ERROR, check_home
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine import migrations
from trainwright_pipelines.engine.leases import acquire_lease
from trainwright_pipelines.engine.records import COMPONENTS_REVISION
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.tables import _log_ahead, open_database
from trainwright_pipelines.requests.compiling import _read_entry

ARCHIVE = Path(__file__).parent / "homes" / "3d8955e.tar.gz"
WRITTEN_AT = "/srv/trainwright"
SUCCEEDED = "train-and-deploy-20261130-053442-0915"
FAILED = "train-and-deploy-20261130-053511-f28a"
KILLED = "train-and-deploy-20261130-053516-9bff"
TUNED = "tune-train-deploy-20261130-053537-50a1"
RUNS = [TUNED, KILLED, FAILED, SUCCEEDED]  # newest first

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home as that commit would have written it here."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "trainwright"
    database = sqlite3.connect(folder / "store.db")
    for table, columns in {
        "runs": ["folder", "parameters", "spec_text"],
        "tasks": ["folder", "log", "inputs", "outputs", "attempts"],
        "artifacts": ["uri"],
    }.items():
        for column in columns:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (WRITTEN_AT, str(folder)))
    database.commit()
    database.close()
    return folder


@pytest.fixture
def trainwright(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(home))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command(list(arguments))
        return code, *capsys.readouterr()

    return call


def set_version(home: Path, version: int) -> None:
    with Store(home) as store, store.engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = :version"), {"version": version})


def content(home: Path) -> list[str]:
    database = sqlite3.connect(home / "store.db")
    try:
        return list(database.iterdump())
    finally:
        database.close()


def schema(engine: Any) -> dict[str, Any]:
    """What an inspector tells of each table; the order of its columns is how they came."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"], column["primary_key"])
                for column in inspector.get_columns(table)
            },
            "indexes": {
                index["name"]: (index["column_names"], index["unique"]) for index in inspector.get_indexes(table)
            },
            "keys": inspector.get_foreign_keys(table),
            "unique": inspector.get_unique_constraints(table),
        }
        for table in inspector.get_table_names()
    }


def test_a_migrated_store_has_the_tables_of_a_new_one(home: Path, tmp_path: Path) -> None:
    with Store(home) as migrated, Store(tmp_path / "new") as new:
        assert schema(migrated.engine) == schema(new.engine)


def test_an_older_home_keeps_every_row(home: Path) -> None:
    added = {
        "runs": (1, "{}", "{}", 0, "{}", "[]"),  # components_revision ... requires_outputs, images, warnings
        "tasks": ("", "[]", "{}", "{}", None),  # title, warnings, resources, cache, item_count
        "cache": ("", "{}"),  # component, parts
        "events": (0,),  # is_warning
    }
    tables = ("runs", "tasks", "artifacts", "task_artifacts", "events", "cache")
    database = sqlite3.connect(home / "store.db")
    before = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    database.close()
    Store(home).close()
    database = sqlite3.connect(home / "store.db")
    after = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    database.close()
    assert after == {table: [(*row, *added.get(table, ())) for row in rows] for table, rows in before.items()}
    assert all(before.values())


def test_runs_of_an_older_home_are_listed_and_shown(trainwright: Command) -> None:
    code, out, _ = trainwright("runs", "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert [each["id"] for each in listed] == RUNS
    assert [each["live_state"] for each in listed] == ["SUCCEEDED", "INTERRUPTED", "FAILED", "SUCCEEDED"]
    code, out, _ = trainwright("runs", "show", SUCCEEDED)
    assert code == 0
    assert "test accuracy  0.9071" in out
    code, out, err = trainwright("runs", "show", FAILED)
    assert "ValueError: no such layer" in out + err
    assert "an older release made it: it cannot be resumed or rerun" in err
    assert "trainwright runs re" not in out + err
    code, out, _ = trainwright("runs", "logs", FAILED, "--step", "train-distributed")
    assert (code, "one process with one CPU" in out) == (0, True)


@pytest.mark.parametrize("run", RUNS)
def test_the_page_of_an_older_run_opens(run: str, trainwright: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    code, out, _ = trainwright("runs", "open", run)
    assert code == 0
    page = Path(out.strip()).read_text()
    assert opened == [Path(out.strip()).as_uri()]
    assert run in page
    assert "train-distributed" in page


@pytest.mark.parametrize(
    "command", [("resume", FAILED), ("resume", KILLED), ("rerun", SUCCEEDED), ("rerun", FAILED, "--step", "evaluate")]
)
def test_an_older_run_is_neither_resumed_nor_rerun(command: tuple[str, ...], trainwright: Command, home: Path) -> None:
    Store(home).close()
    before = content(home)
    code, out, err = trainwright("runs", *command)
    assert code == 2
    assert f"error: run {command[1]} was made by an older release of trainwright" in err
    assert "`trainwright pipelines train_and_deploy` shows today's parameters" in err
    assert out == ""
    assert content(home) == before


def test_resume_without_a_name_passes_older_runs_over(trainwright: Command) -> None:
    code, _, err = trainwright("runs", "resume")
    assert code == 2
    assert "was canceled or interrupted; runs that an older release made cannot be resumed" in err


def test_older_runs_are_canceled_and_deleted(trainwright: Command, home: Path) -> None:
    code, _, err = trainwright("runs", "logs", KILLED, "--follow")
    assert (code, err.splitlines()[-1]) == (1, f"error: the process of run {KILLED} is gone")
    assert trainwright("runs", "cancel", KILLED)[:2] == (0, f"run {KILLED} canceled\n")
    code, out, _ = trainwright("runs", "delete", "--yes", *RUNS)
    assert code == 0
    assert out.splitlines()[-1].startswith(f"deleted {len(RUNS)} runs: ")
    assert list((home / "runs").iterdir()) == []
    assert trainwright("runs", "list")[1].startswith("no runs yet")


def test_a_new_run_of_a_migrated_home_can_be_repeated(home: Path, specs: Path) -> None:
    from trainwright_pipelines.engine import runs

    with Store(home) as store:
        created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
        assert created.components_revision == COMPONENTS_REVISION
        assert runs.repeat(created.id, store=store).parameters == created.parameters


def test_the_other_records_of_an_older_home_are_read(home: Path) -> None:
    info = ServingHome(home).read_info()
    assert info is not None
    assert (info.state, info.rest_port) == ("stopped", 8501)
    assert [model.name for model in ServingHome(home).models()] == ["digits"]
    assert [entry.version for entry in read_history(home / "models" / "digits")] == [1]
    study = home / "runs" / TUNED / "steps" / "hyperparameter-tune" / "outputs" / "study"
    assert [trial.id for trial in TrialStore(study).trials()] == [1, 2]


def test_pipelines_that_an_older_release_compiled_are_compiled_again(home: Path) -> None:
    entries = sorted((home / "compiled").iterdir())
    assert len(entries) == 2
    assert [_read_entry(entry) for entry in entries] == [None, None]


def test_models_to_serve_that_a_newer_release_wrote_are_refused(home: Path, trainwright: Command) -> None:
    file = ServingHome(home).models_file
    file.write_text(json.dumps([{"name": "digits", "base_path": "/x", "of_a_newer_release": 1}]))
    code, _, err = trainwright("serve", "start")
    assert code == 2
    assert err.startswith(f"error: {file}, the models to serve, cannot be read: it is damaged, or a newer release")


def test_a_newer_home_is_refused_and_left_as_it_is(home: Path, trainwright: Command) -> None:
    set_version(home, migrations.VERSION + 1)
    before = content(home)
    for command in (("runs", "list"), ("runs", "delete", SUCCEEDED, "--yes")):
        code, out, err = trainwright(*command)
        assert (code, out) == (2, "")
        assert err == (
            f"error: the record of runs in {home} was written by a newer release of trainwright: its schema has "
            f"version {migrations.VERSION + 1}, this release knows {migrations.VERSION} and older. Install that "
            "release (pip install --upgrade trainwright), or set TRAINWRIGHT_HOME to another folder\n"
        )
    assert content(home) == before
    finding = check_home(home)
    assert (finding.level, finding.advice) == (ERROR, "")
    assert "was written by a newer release" in finding.message


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["DELETE FROM schema_version"], "the version of its schema is missing"),
        (["INSERT INTO schema_version VALUES (1)"], f"the version of its schema is {migrations.VERSION}, 1"),
        (["UPDATE schema_version SET version = 0"], "the version of its schema is 0"),
        (["UPDATE schema_version SET version = 'two'"], "the version of its schema is two"),
        (["DROP TABLE schema_version"], "its tables are not those of version 1"),
        (["DROP TABLE schema_version", "ALTER TABLE runs RENAME TO gone"], "its tables are not those of version 0"),
    ],
)
def test_a_store_whose_version_is_not_true_is_left_as_it_is(statements: list[str], message: str, home: Path) -> None:
    Store(home).close()
    database = sqlite3.connect(home / "store.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    before = content(home)
    with pytest.raises(InvalidSetting, match=f"store.db, is damaged: {message}. Put a copy"):
        Store(home)
    assert content(home) == before


@pytest.mark.parametrize("size", [0, 30, 5_000, 60_000])
def test_a_store_that_was_cut_off_or_is_something_else_is_told(size: int, home: Path, trainwright: Command) -> None:
    file = home / "store.db"
    file.write_bytes(file.read_bytes()[:size] or b"These are no runs.\n" * 1_000)
    before = file.read_bytes()
    code, out, err = trainwright("runs", "list")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"error: the record of runs, {file}, is damaged: ")
    with pytest.raises(RunFailed, match="is damaged"):
        list_runs(home=home)
    assert check_home(home).level == ERROR
    assert file.read_bytes() == before


def test_a_home_that_an_older_release_is_using_is_not_migrated(home: Path) -> None:
    engine = open_database(f"sqlite:///{home / 'store.db'}")
    lease = acquire_lease(engine, KILLED)
    before = content(home)
    with pytest.raises(InvalidSetting, match=f"run {KILLED} in .* is being executed by process [0-9]+ on "):
        Store(home)
    assert content(home) == before
    lease.release()
    engine.dispose()
    Store(home).close()


@pytest.mark.parametrize("is_new", [True, False])
def test_processes_that_open_a_home_at_once_all_find_it_whole(is_new: bool, home: Path) -> None:
    if is_new:
        shutil.rmtree(home)
    program = (
        "import sys; from pathlib import Path; from trainwright_pipelines.engine.store import Store\n"
        "print('ready', flush=True); sys.stdin.readline(); store = Store(Path(sys.argv[1])); print(len(store.runs()))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == [f"{0 if is_new else len(RUNS)}\n"] * 4


def test_a_database_that_others_are_just_making_is_waited_for() -> None:
    """SQLite lets no one wait for the change to WAL where two make it at the same time."""
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
    cursor = Mock(spec=sqlite3.Cursor)
    cursor.execute.side_effect = [busy, busy, None]
    _log_ahead(cursor)
    assert cursor.execute.call_args_list == [call("PRAGMA journal_mode=WAL")] * 3


def test_a_second_opener_waits_for_the_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on, done = threading.Event(), threading.Event(), []
    record = migrations._record

    def slow_record(connection: Any) -> None:
        inside.set()
        go_on.wait(30)
        record(connection)

    monkeypatch.setattr(migrations, "_record", slow_record)
    first = threading.Thread(target=lambda: (Store(home).close(), done.append("first")))
    second = threading.Thread(target=lambda: (Store(home).close(), done.append("second")))
    first.start()
    assert inside.wait(30)
    second.start()
    second.join(0.5)
    assert second.is_alive()
    go_on.set()
    first.join(30)
    second.join(30)
    assert sorted(done) == ["first", "second"]


def test_a_migration_that_was_killed_leaves_the_older_home_which_opens_again(home: Path) -> None:
    before = content(home)
    program = (
        "import os, signal, sys; from pathlib import Path; from trainwright_pipelines.engine import migrations, store\n"
        "migrations._record = lambda connection: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.Store(Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", program, home], check=False).returncode == -9
    assert content(home) == before
    with Store(home) as store:
        assert [run.id for run in store.runs()] == RUNS
