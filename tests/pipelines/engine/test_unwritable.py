"""A run whose disk or database takes no more: it ends, says why, and goes on once there is room."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from trainwright import get_run, list_runs
from trainwright_components.files import write_whole
from trainwright_pipelines.cli.main import run_command
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.leases import is_held
from trainwright_pipelines.engine.records import Event, Run, RunSettings, State
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.unwritable import Unwritable, why_unwritable

AS_PROCESSES = RunSettings(isolation={"": "process"})

ENDS_WITHIN_S = 30


def sqlite_full() -> sqlite3.OperationalError:
    """SQLite's own error, from a database that may not grow."""
    database = sqlite3.connect(":memory:")
    database.execute("pragma max_page_count = 2")
    database.execute("create table t (x)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("insert into t values (zeroblob(100000))")
    database.close()
    return caught.value


class FullDisk:
    """Refuses what a store writes with `statement`, while full."""

    def __init__(self, store: Store, statement: str, *, is_full: bool = False) -> None:
        self.is_full = is_full
        self._statement = statement
        self._error = sqlite_full()
        event.listen(store.engine, "before_cursor_execute", self._refuse)

    def _refuse(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self.is_full and statement.startswith(self._statement):
            raise self._error

    def fill_at_the_start(self, each: Event) -> None:
        """A listener: full from when the first step runs."""
        self.is_full = self.is_full or (each.task is not None and each.state == State.RUNNING)


@contextlib.contextmanager
def limited_to(size_bytes: int) -> Iterator[None]:
    """Files of this process may not grow beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def ended(run_id: str, store: Store, **settings: Any) -> Run | BaseException:
    """How a run ends, or fails to within the time."""
    outcome: list[Run | BaseException] = []

    def execute() -> None:
        try:
            outcome.append(runs.execute(run_id, store=store, **settings))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=execute, daemon=True)
    thread.start()
    thread.join(ENDS_WITHIN_S)
    assert outcome, "the run does not end"
    return outcome[0]


@pytest.mark.parametrize("statement", ["UPDATE tasks", "INSERT INTO events", "UPDATE runs"])
def test_a_run_ends_at_whatever_moment_the_disk_is_full_and_goes_on_after(
    specs: Path, store: Store, statement: str
) -> None:
    created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    disk = FullDisk(store, statement)
    error = ended(created.id, store, listener=disk.fill_at_the_start)
    assert isinstance(error, Unwritable)
    assert error.exit_code == 1
    assert f"the disk is full: nothing more can be written to {store.home}" in str(error)
    disk.is_full = False
    assert f"trainwright runs resume {created.id}" in str(error)
    assert runs.resume(created.id, store=store).outputs.parameters == {"Output": 15}


def test_a_run_that_succeeded_is_no_failure_where_its_lease_cannot_be_given_up(
    specs: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    disk = FullDisk(store, "DELETE FROM leases")
    with caplog.at_level(logging.WARNING):
        run = ended(created.id, store, listener=disk.fill_at_the_start)
    assert isinstance(run, Run)
    assert run.state == State.SUCCEEDED
    assert f"the lease of run {created.id} could not be given up: the disk is full" in caplog.text
    assert not is_held(store.engine, created.id)


def test_a_heartbeat_that_cannot_be_recorded_ends_nothing(
    specs: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    FullDisk(store, "UPDATE leases", is_full=True)
    with caplog.at_level(logging.WARNING):
        run = ended(created.id, store)
    assert isinstance(run, Run)
    assert run.state == State.SUCCEEDED
    assert caplog.text.count("the heartbeat of run") == 1


def test_a_cancel_that_cannot_be_recorded_stops_the_run_all_the_same(specs: Path, store: Store) -> None:
    created = runs.create_run((specs / "one_sleeper.yaml").read_text(), {}, store=store, settings=AS_PROCESSES)
    disk = FullDisk(store, "UPDATE runs")

    def cancel_on_a_full_disk(each: Event) -> None:
        if each.task is not None and each.state == State.RUNNING:
            store.request_cancel(created.id)
            disk.is_full = True

    assert isinstance(ended(created.id, store, listener=cancel_on_a_full_disk), Unwritable)
    assert store.task(created.id, "sleeper").state == State.CANCELED


def test_a_progress_that_goes_to_a_full_disk_ends_nothing(specs: Path, store: Store) -> None:
    created = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    full = os.open("/dev/full", os.O_WRONLY)
    run = ended(created.id, store, listener=lambda each: os.write(full, each.state.encode()))
    os.close(full)
    assert isinstance(run, Run)
    assert run.state == State.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "x", "/data/f"), "the disk is full: nothing more can be written to /data"),
        (OSError(errno.EDQUOT, "x"), "the disk quota is used up: nothing more can be written to {home}"),
        (OSError(errno.EFBIG, "x"), "no file may grow further (see `ulimit -f`): nothing more"),
        (OSError(errno.EROFS, "x"), "the disk is read-only"),
        (ExceptionGroup("g", [ValueError("x"), ExceptionGroup("h", [OSError(errno.ENOSPC, "x")])]), "the disk is full"),
        (sqlite3.OperationalError("database is locked"), "the record of runs in {home} cannot be written: database is"),
        (OSError(errno.EMFILE, "x", "/data/f"), "too many files are open (see `ulimit -n`): nothing more"),
        (OSError(errno.ENOENT, "No such file", "/data/f"), ""),
        (ValueError("the disk is full"), ""),
    ],
)
def test_the_reason_is_named_with_the_place(error: BaseException, reason: str, tmp_path: Path) -> None:
    said = why_unwritable(error, tmp_path)
    assert said.startswith(reason.format(home=tmp_path))
    assert bool(said) == bool(reason)


def test_a_wrong_statement_is_not_taken_for_a_full_disk(store: Store) -> None:
    with store.engine.connect() as connection, pytest.raises(Exception, match="no such table") as caught:
        connection.exec_driver_sql("select * from missing")
    assert why_unwritable(caught.value, store.home) == ""


ON_A_SMALL_DISK = """
set -u
mount -t tmpfs -o size=2m tmpfs "$DISK"
trainwright run "$SPEC" --set n=1 > /dev/null 2>&1 || exit 10
head -c $(($(df --output=avail --block-size=1k "$DISK" | tail -1) - 150))k /dev/zero > "$DISK/filler"
trainwright run "$SPEC" --set n=2; echo "full: $?"
cat /dev/zero > "$DISK/last" 2> /dev/null; echo "left: $(($(df --output=avail --block-size=1 "$DISK" | tail -1)))"
for action in list show logs open; do trainwright runs $action > "$OUT/full-$action" || echo "$action failed"; done
python -c "import trainwright as t; print('python:', t.get_run().state, len(t.list_runs()))"
rm "$DISK/filler" "$DISK/last"
trainwright runs resume > /dev/null 2>&1; echo "resumed: $?"
mount -o remount,ro "$DISK"
trainwright run "$SPEC" --set n=4; echo "read-only: $?"
for action in list show logs open; do trainwright runs $action > "$OUT/$action" 2>&1; echo "$action: $?"; done
mount -o remount,rw "$DISK"
trainwright runs list > /dev/null; echo "listed: $?"
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_or_read_only_ends_a_run_and_keeps_the_record(specs: Path, tmp_path: Path) -> None:
    """In a mount namespace of its own, unshare(1), which needs no privilege."""
    disk = tmp_path / "disk"
    disk.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {
        "OUT": str(tmp_path),
        "DISK": str(disk),
        "SPEC": str(specs / "chain.yaml"),
        "TRAINWRIGHT_HOME": str(disk / "home"),
        "PATH": path,
    }
    command = ["unshare", "--map-root-user", "--mount", "bash", "-c", ON_A_SMALL_DISK]
    done = subprocess.run(
        command, env={**os.environ, **given}, capture_output=True, text=True, timeout=120, check=False
    )
    read = ["list: 0", "show: 0", "logs: 0", "open: 0"]
    ends = ["full: 1", "left: 0", "python: INTERRUPTED 2", "resumed: 0", "read-only: 2", *read, "listed: 0"]
    assert done.stdout.splitlines()[-len(ends) :] == ends, done.stderr
    assert re.findall("SUCCEEDED|INTERRUPTED", (tmp_path / "full-list").read_text()) == ["INTERRUPTED", "SUCCEEDED"]
    assert all((tmp_path / f"full-{action}").stat().st_size > 0 for action in ("show", "open"))
    assert (tmp_path / "list").read_text().count("SUCCEEDED") == 2
    assert (tmp_path / "show").read_text().count("SUCCEEDED") > 1
    [page] = re.findall("^/.*/run.html$", (tmp_path / "open").read_text(), re.MULTILINE)
    assert not Path(page).is_relative_to(disk)
    assert "</html>" in Path(page).read_text()
    assert f"error: the disk is full: nothing more can be written to {disk / 'home'}" in done.stderr
    assert f"error: cannot write to {disk / 'home'}" in done.stderr


def test_a_copy_has_all_that_the_record_has_and_writes_nothing_to_it(specs: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "home") as store:
        run = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
        held = {file.name: file.read_bytes() for file in (tmp_path / "home").glob("store.db*")}
        assert any(name.endswith("-wal") and content for name, content in held.items())
        with Store.of_copy(tmp_path / "home") as copy:
            assert [each.id for each in copy.runs()] == [run.id]
            copy.request_cancel(run.id)
        assert held == {file.name: file.read_bytes() for file in (tmp_path / "home").glob("store.db*")}
    (tmp_path / "new").mkdir()
    with Store.of_copy(tmp_path / "new") as copy:
        assert copy.runs() == []
    assert not list((tmp_path / "new").iterdir())


def test_a_record_beside_which_nothing_can_be_written_is_looked_at_all_the_same(
    specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a disk that is full to the last byte: SQLite finds no place for its shared memory."""
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path))
    with Store(tmp_path) as store:
        run = runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    (tmp_path / "store.db-shm").mkdir()
    for command in (["list"], ["show", run.id], ["show", "chain", "--json"], ["logs"]):
        assert run_command(["runs", *command]) == 0
        assert capsys.readouterr().err in ("", f"follow: trainwright runs logs {run.id} --follow\n")
    [listed] = list_runs()
    assert (listed.id, get_run("chain").id) == (run.id, run.id)
    assert run_command(["runs", "resume", run.id]) == 1
    assert f"error: the record of runs in {tmp_path} cannot be written" in capsys.readouterr().err
    (tmp_path / "store.db").write_bytes(b"no database" * 1000)
    assert run_command(["runs", "list"]) == 1
    assert f"{tmp_path}/store.db, is damaged" in capsys.readouterr().err


def test_a_file_of_the_home_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "runs" / "f").touch()
    assert why_unwritable(caught.value, tmp_path) == f"{tmp_path}/runs/f cannot be used: No such file or directory"


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught, limited_to(1000):
        write_whole(tmp_path / "page.html", "x" * 5000)
    assert caught.value.filename == str(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
