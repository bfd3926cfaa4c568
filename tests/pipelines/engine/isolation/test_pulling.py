"""An image that is not here: pulled, told while it takes time, and given up when the run is stopped."""

import os
import threading
from pathlib import Path

import pytest

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import Event, State
from trainwright_pipelines.engine.store import Store

ENDLESS_PULL = """#!/bin/sh
case "$1" in
info) echo '{"ServerVersion": "28.0", "NCPU": 2, "MemTotal": 4294967296}' ;;
pull) echo $$ > "$(dirname "$0")/pulling"; sleep 600 ;;
*) echo "Error: No such image" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command whose pulls never end."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "docker").write_text(ENDLESS_PULL)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_a_run_that_is_stopped_waits_for_no_pull(docker: Path, specs: Path, store: Store) -> None:
    run = runs.create_run((specs / "one_sleeper.yaml").read_text(), {}, store=store)
    told, pulls = [], threading.Event()

    def listen(event: Event) -> None:
        told.append(event.message)
        if event.message == "pulling the image alpine":
            pulls.set()

    thread = threading.Thread(target=runs.execute, args=(run.id,), kwargs={"store": store, "listener": listen})
    thread.start()
    assert pulls.wait(30), told
    runs.cancel(run.id, store=store)
    thread.join(30)
    assert not thread.is_alive()
    assert store.run(run.id).state == State.CANCELED
    if (docker / "pulling").exists():  # else it was stopped before the program could say so
        with pytest.raises(ProcessLookupError):
            os.kill(int((docker / "pulling").read_text()), 0)
