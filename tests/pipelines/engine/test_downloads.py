"""Artifacts in gs:// and s3://, from servers on this machine that others wrote."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.components.storage import servers
from tests.pipelines.engine.conftest import AS_PROCESSES

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.home import Home
from trainwright_components.processes.locks import locked
from trainwright_components.storage import copies as copied
from trainwright_components.storage.addresses import join
from trainwright_components.storage.copies import content_marks, fetch
from trainwright_components.storage.locations import storage_of
from trainwright_pipelines.engine import downloads, runs
from trainwright_pipelines.engine.downloads import beyond_reach, digest_of_address, download
from trainwright_pipelines.engine.isolation.of_a_run import Isolations
from trainwright_pipelines.engine.leftovers import find_leftovers, remove_leftover
from trainwright_pipelines.engine.records import Artifact, State, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pipelines.engine.conftest import Execute, Finished

    from trainwright_components.storage.protocol import Storage
    from trainwright_pipelines.engine.store import Store

Write = Callable[[str, str], str]


@pytest.fixture(scope="module", params=["gs", pytest.param("s3", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, servers.serving(request.param, patch) as address:
        yield address


@pytest.fixture
def write(bucket: str, tmp_path: Path) -> Write:
    def write(name: str, text: str) -> str:
        path = tmp_path / "written"
        path.write_text(text)
        assert storage_of(bucket).write(join(bucket, name), path, replace=True)
        return join(bucket, name)

    return write


def copies(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.suffix != downloads.LOCK_SUFFIX]


def states(finished: Finished) -> dict[str, bool]:
    return {path: task.is_cached for path, task in finished.tasks.items() if path in {"read-remote", "cat-remote"}}


def test_a_step_reads_a_copy_at_its_path_and_knows_the_address(
    execute: Execute, store: Store, bucket: str, write: Write
) -> None:
    write("folder/a.txt", "one")
    write("folder/b.txt", "two")
    file = write("file.txt", "three")
    given = {"folder": f"{bucket}/folder", "file": file}
    first = execute("remote", **given)
    assert first.output("read-remote") == [f"{bucket}/folder", "one", "two"], first.run.error
    assert first.output("cat-remote", "out") == "three"
    assert len(copies(store.home / downloads.FOLDER)) == 2
    assert states(execute("remote", **given)) == {"read-remote": True, "cat-remote": True}
    write("folder/b.txt", "2")
    third = execute("remote", **given)
    assert states(third) == {"read-remote": False, "cat-remote": True}
    assert third.output("read-remote") == [f"{bucket}/folder", "one", "2"]


def test_nothing_at_an_address_fails_the_step_that_reads_it(execute: Execute, bucket: str, write: Write) -> None:
    finished = execute("remote", folder=f"{bucket}/nowhere", file=write("there", "x"))
    assert finished.tasks["read-remote"].error.startswith(f"there is nothing at '{bucket}/nowhere'")
    assert finished.output("cat-remote", "out") == "x"


def test_a_storage_that_takes_a_while_is_told(
    specs: Path, store: Store, bucket: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, threading.Event] = {}

    def wait(message: str) -> None:
        told.setdefault(message, threading.Event()).set()

    def slow(storage: Storage, uri: str) -> object:
        waited = f"waiting for {uri}: it is large, or cannot be reached"
        assert told.setdefault(waited, threading.Event()).wait(30)
        return content_marks(storage, uri)

    monkeypatch.setattr(downloads, "content_marks", slow)
    monkeypatch.setattr(downloads, "_TELLS_AFTER_S", 0.01)
    for name in ("slow/a.txt", "slow/b.txt"):
        write(name, "x")
    given = {"folder": join(bucket, "slow"), "file": write("slow-file.txt", "x")}
    created = runs.create_run((specs / "remote.yaml").read_text(), given, store=store, settings=AS_PROCESSES)
    run = runs.execute(created.id, store=store, listener=lambda event: wait(event.message))
    assert run.state == State.SUCCEEDED, run.error
    kept = {(event.task_path, event.message, event.is_warning) for event in store.events(run.id)}
    assert ("read-remote", f"waiting for {given['folder']}: it is large, or cannot be reached", False) in kept


def test_a_copy_is_made_once_whoever_asks_and_steps_cannot_write_to_it(
    bucket: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = write("shared/part/x.txt", "x")
    folder = tmp_path / "downloads"
    found: list[Path] = []
    fetched: list[str] = []
    all_have_looked = threading.Barrier(4)
    digest = downloads.digest_of_address

    def look(uri: str) -> str:
        result = digest(uri)
        if not fetched:
            all_have_looked.wait(60)
        return result

    def count(storage: Storage, uri: str, target: Path, *, check: Callable[[], object]) -> None:
        fetched.append(uri)
        fetch(storage, uri, target, check=check)

    monkeypatch.setattr(downloads, "digest_of_address", look)
    monkeypatch.setattr(downloads, "fetch", count)
    threads = [threading.Thread(target=lambda: found.append(download(f"{bucket}/shared", folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert fetched == [f"{bucket}/shared"]
    assert copies(folder) == [found[0].parent]
    assert not (found[0] / "part/x.txt").stat().st_mode & 0o222
    assert not (found[0] / "part").stat().st_mode & 0o222
    assert not (download(address, folder)).stat().st_mode & 0o222


def test_what_changes_while_it_is_downloaded_is_not_kept(
    bucket: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = write("busy", "before"), tmp_path / "downloads"
    digests = iter([digest_of_address(address), "another"])
    monkeypatch.setattr(downloads, "digest_of_address", lambda _: next(digests))
    with pytest.raises(RunFailed, match="changed while it was downloaded"):
        download(address, folder)
    assert copies(folder) == []


def test_a_download_ends_with_its_run(bucket: str, write: Write, tmp_path: Path) -> None:
    """Within a file: a folder of models is often one file of gigabytes."""
    isolations, address = Isolations(), write("large", "x" * (3 << 20))
    folder = tmp_path / "downloads"
    place = folder / digest_of_address(address)[:32]

    def check() -> None:
        if any(folder.glob(".*/large")):
            isolations.close()
        isolations.check_open()

    with pytest.raises(RunFailed, match="the run was stopped"):
        download(address, folder, check=check)
    with locked(place.with_suffix(downloads.LOCK_SUFFIX)):
        assert copies(folder) == []


def test_a_stopped_run_does_not_wait_for_the_download_of_another(bucket: str, write: Write, tmp_path: Path) -> None:
    address, isolations = write("waited-for", "x"), Isolations()
    isolations.close()
    place = tmp_path / "downloads" / digest_of_address(address)[:32]
    with locked(place.with_suffix(downloads.LOCK_SUFFIX)), pytest.raises(RunFailed, match="the run was stopped"):
        download(address, place.parent, check=isolations.check_open)


def test_a_canceled_run_does_not_wait_for_a_storage_that_is_away(
    specs: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's client tries for two minutes to reach it, in a thread that nothing stops."""
    monkeypatch.setattr(copied, "_made", {})
    monkeypatch.setattr(downloads, "_TELLS_AFTER_S", 0.01)
    text = (specs / "remote.yaml").read_text()
    given = {"folder": "gs://away/folder", "file": "gs://away/file"}
    created = runs.create_run(text, given, store=store, settings=AS_PROCESSES)
    canceled: list[float] = []

    def cancel(message: str) -> None:
        if message.startswith("waiting for gs://away") and not canceled:
            canceled.append(time.monotonic())
            runs.cancel(created.id, store=store)

    with socket.socket() as closed:  # a port of ours at which nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
        run = runs.execute(created.id, store=store, listener=lambda event: cancel(event.message))
    assert run.state == State.CANCELED
    assert time.monotonic() - canceled[0] < 20


def test_what_is_not_there_leaves_nothing_behind(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="there is nothing at"):
        download(f"{bucket}/no-such-thing", tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()


@pytest.mark.slow
def test_gc_removes_copies_that_no_step_reads_any_more(bucket: str, write: Write, store: Store, tmp_path: Path) -> None:
    folder = store.home / downloads.FOLDER
    old, new = (download(write(f"gc-{name}", name), folder).parent for name in ("old", "new"))
    (folder / ".killed").mkdir()
    for each in (old, folder / ".killed"):
        os.utime(each, (0, 0))
    found = [each for each in find_leftovers(store, Home(root=store.home)) if each.path.parent == folder]
    assert {each.path: each.why for each in found} == {
        old: "no step read it for 30 days",
        folder / ".killed": "a download that was killed",
    }
    assert all(map(remove_leftover, found))
    assert copies(folder) == [new]


def test_what_lies_where_nothing_is_downloaded_from_is_told() -> None:
    uris = ("oci://registry/model:1", "/here", "file:///here", "gs://bucket/there")
    given = tuple(Artifact(id=uri, name="model", type="system.Model", uri=uri) for uri in uris)
    assert list(beyond_reach(Values(artifacts={"model": given}))) == [
        "its input 'model' is not here: nothing is downloaded from oci://registry/model:1, so that the step finds "
        "nothing at its path"
    ]
