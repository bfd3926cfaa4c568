"""When earlier results stand for new ones, and when not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright_pipelines.engine import cache, runs
from trainwright_pipelines.engine.parsing import parse_pipeline
from trainwright_pipelines.engine.records import State, Values
from trainwright_pipelines.engine.store import Store

if TYPE_CHECKING:
    from conftest import Execute, Finished


def cached(finished: Finished) -> set[str]:
    return {path for path, task in finished.tasks.items() if task.is_cached}


def test_the_same_again_is_not_done_again_metrics_included(execute: Execute) -> None:
    first, second = execute("cached"), execute("cached")
    assert cached(first) == set()
    assert cached(second) == {"write", "read", "measure", "say"}
    assert second.output("read") == "data"
    assert second.tasks["write"].outputs.artifacts == first.tasks["write"].outputs.artifacts
    assert second.tasks["measure"].outputs.artifacts["metrics"][0].metadata == {"accuracy": 0.5}
    assert second.tasks["write"].cached_from == first.tasks["write"].id
    assert second.tasks["write"].attempts == ()


def test_another_input_is_done_anew_with_all_that_follows(execute: Execute) -> None:
    execute("cached")
    assert cached(execute("cached", text="other")) == {"measure", "say"}


def test_a_run_without_cache_does_everything(execute: Execute) -> None:
    execute("cached")
    assert cached(execute("cached", uses_cache=False)) == set()


def test_a_path_counts_by_what_lies_there(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("content")
    (tmp_path / "two").write_text("content")
    execute("cached", path=str(tmp_path / "one"))
    assert "say" in cached(execute("cached", path=str(tmp_path / "one")))
    (tmp_path / "one").write_text("changed")
    assert "say" not in cached(execute("cached", path=str(tmp_path / "one")))


def test_results_that_are_gone_or_changed_are_made_anew(execute: Execute) -> None:
    first = execute("cached")
    first.tasks["write"].outputs.artifacts["out"][0].path.write_text("tampered")
    second = execute("cached")
    assert cached(second) == {"read", "measure", "say"}  # what was written anew is what `read` had read
    shutil.rmtree(second.run.folder)
    assert "write" not in cached(execute("cached"))


def test_what_was_mended_before_a_resume_does_not_stand_for_what_was_broken(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "module").write_text("broken")
    first = execute("edited", path=str(tmp_path / "module"))
    assert first.run.state == State.FAILED
    (tmp_path / "module").write_text("mended")
    assert execute("", resume=first.run.id).output("read-mended") == "mended"
    assert cached(execute("edited", path=str(tmp_path / "module"))) == {"read-mended"}
    (tmp_path / "module").write_text("broken")
    assert execute("edited", path=str(tmp_path / "module")).run.state == State.FAILED


def test_what_is_edited_under_a_step_is_not_reused(execute: Execute, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "module").write_text("first")
        assert cached(execute("edited", path=str(tmp_path / "module"), edit="second")) == set()


def test_a_deleted_run_leaves_what_others_use(execute: Execute, store: Store) -> None:
    first, second = execute("cached"), execute("cached")
    runs.delete(first.run.id, store=store)
    assert second.tasks["write"].outputs.artifacts["out"][0].path.read_text() == "data"
    assert not (first.run.folder / "pipeline.yaml").exists()
    third = execute("cached")
    assert cached(third) == set()
    runs.delete(third.run.id, store=store)
    assert not third.run.folder.exists()


def key(specs: Path, task: str, code: str = "1", **parameters: object) -> str | None:
    pipeline = parse_pipeline((specs / "ours.yaml").read_text())
    assert pipeline.root.dag is not None
    spec = pipeline.root.dag.tasks[task]
    component = pipeline.component_of(spec)
    container = pipeline.executors[component.executor]["container"]
    return cache.cache_key(spec, component, container, Values(parameters=parameters), code_digest=code)


def test_our_own_code_counts(specs: Path) -> None:
    assert key(specs, "warm", "1") == key(specs, "warm", "1")
    assert key(specs, "warm", "1") != key(specs, "warm", "2")
    assert key(specs, "warm", "1", text="a") != key(specs, "warm", "1", text="b")


def test_the_installed_code_has_one_digest() -> None:
    assert cache.installed_code() == cache.installed_code()


def test_a_deployment_is_never_reused(specs: Path) -> None:
    text = (specs / "ours.yaml").read_text().replace("- warm\n", "- deploy_serving\n")
    pipeline = parse_pipeline(text)
    assert pipeline.root.dag is not None
    spec = pipeline.root.dag.tasks["warm"]
    component = pipeline.component_of(spec)
    container = pipeline.executors[component.executor]["container"]
    assert cache.cache_key(spec, component, container, Values(), code_digest="") is None


def test_a_named_pipe_makes_a_step_run_rather_than_hang(specs: Path, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert key(specs, "warm", text=str(tmp_path / "pipe")) is None
    assert key(specs, "warm", text=str(tmp_path)) is None
    assert key(specs, "warm", text="/no\0path") is not None
