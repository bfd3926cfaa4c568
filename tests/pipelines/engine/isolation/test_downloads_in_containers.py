"""A step in a container finds what lies in a bucket where kfp looks for its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.components.storage import servers

from trainwright_components.storage.copies import cloud_storage_of
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import RunSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainwright_pipelines.engine.store import Store


@pytest.mark.slow
def test_a_copy_is_below_gcs_in_a_container(
    base_image: str, specs: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("from a bucket")
    text = (specs / "remote.yaml").read_text().replace("image: alpine\n", f"image: {base_image}\n")
    with servers.serving("gs", monkeypatch) as bucket:
        for name in ("file", "folder/a.txt", "folder/b.txt"):
            cloud_storage_of(bucket).write(f"{bucket}/{name}", tmp_path / "text", replace=True)
        settings = RunSettings(isolation={"cat-remote": "container", "": "process"})
        given = {"folder": f"{bucket}/folder", "file": f"{bucket}/file"}
        run = runs.execute(runs.create_run(text, given, store=store, settings=settings).id, store=store)
    task = store.task(run.id, "cat-remote")
    assert task.outputs.parameters == {"out": "from a bucket"}, run.error
    assert task.attempts[-1].image
    assert store.task(run.id, "read-remote").outputs.parameters["Output"][1:] == ["from a bucket"] * 2
