"""An image that is not here: pulled, told while it takes time, and given up when the run is stopped."""

import os
import threading
from pathlib import Path

import pytest

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.isolation.container_engine import Images, find_engine
from trainwright_pipelines.engine.records import Event, State
from trainwright_pipelines.engine.store import Store

ENDLESS_PULL = """#!/bin/sh
case "$1" in
info) echo '{"ServerVersion": "28.0", "NCPU": 2, "MemTotal": 4294967296}' ;;
pull) if [ "$3" = denied ]; then echo denied >&2; exit 1; fi; echo $$ > "$(dirname "$0")/pulling"; sleep 600 ;;
image) if [ "$3" = here ]; then echo '[{"Id": "sha256:1"}]'; else echo "Error: No such image" >&2; exit 1; fi ;;
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


def test_a_step_waits_for_its_own_image_alone(docker: Path) -> None:
    images, pulls = Images(engine=find_engine()), threading.Event()
    told: list[str] = []
    failed: list[str] = []

    def get_endless(step: str) -> None:
        try:
            images.get("endless", lambda line: (told.append(line), pulls.set()), step=step)
        except RunFailed as error:
            failed.append(str(error))

    waiting = [threading.Thread(target=get_endless, args=(step,)) for step in ("a", "b")]
    for thread in waiting:
        thread.start()
    assert pulls.wait(30)
    with pytest.raises(RunFailed, match="'denied' is not on this machine and cannot be pulled: denied"):
        images.get("denied", told.append, step="c")
    assert images.get("here", told.append, step="d").id == "sha256:1"
    assert all(thread.is_alive() for thread in waiting)
    assert told == ["pulling the image endless", "pulling the image denied"]
    images.close()
    for thread in waiting:
        thread.join(30)
    assert len(failed) == 2
    with pytest.raises(RunFailed, match="the run was stopped"):
        images.get("other", told.append, step="e")
