"""When earlier results stand for new ones, and when not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from trainwright_components.deploy_serving.history import HistoryEntry, append_history, now_text
from trainwright_components.saved_models.history import HISTORY_NAME
from trainwright_pipelines.engine import cache, runs
from trainwright_pipelines.engine.cache import Fingerprint
from trainwright_pipelines.engine.records import State, Values
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.engine.volumes import Volumes
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.ir.spec import Component, TaskSpec

GOLDEN = Path(__file__).parent.parent / "golden"

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Execute, Finished


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


def test_two_paths_with_the_same_content_are_two(execute: Execute, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("content")
        assert "say" not in cached(execute("cached", path=str(tmp_path / name)))


@pytest.mark.parametrize(
    "value", ["{}", ["{}"], {"a": "{}"}, {"{}": 1}, {"a": [1, {"b": ["{}"]}]}, "file://{}", [{"{}": None}]]
)
def test_a_path_counts_by_its_content_wherever_it_is_in_a_parameter(specs: Path, tmp_path: Path, value: object) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "1.csv").write_text("a")
    given = json.loads(json.dumps(value).replace("{}", str(tmp_path / "rows")))
    before = key(specs, "warm", text=given)
    assert before is not None
    assert key(specs, "warm", text=given) == before
    (tmp_path / "rows" / "1.csv").write_text("b")
    assert key(specs, "warm", text=given) != before


def test_a_folder_counts_with_all_that_lies_in_it(specs: Path, tmp_path: Path) -> None:
    folder, behind = tmp_path / "rows", tmp_path / "behind"
    for each in (folder / "__pycache__", behind):
        each.mkdir(parents=True)
    (behind / "1.csv").write_text("a")
    seen = [key(specs, "warm", text=str(folder))]
    (folder / "__pycache__" / "m.pyc").write_text("bytes")
    assert key(specs, "warm", text=str(folder)) == seen[0]
    for change in (
        lambda: (folder / "link").symlink_to(behind),
        lambda: (behind / "1.csv").write_text("b"),
        lambda: (folder / ".hidden").write_text("1"),
        lambda: (folder / ".hidden").write_text("2"),
        lambda: (folder / "empty").mkdir(),
        lambda: (folder / "empty").rename(folder / ".empty"),
        lambda: (folder / "gone").symlink_to("/nowhere"),
        lambda: (folder / "itself").symlink_to(folder / "itself"),
    ):
        change()
        seen.append(key(specs, "warm", text=str(folder)))
        assert key(specs, "warm", text=str(folder)) == seen[-1]
    assert None not in seen
    assert len(set(seen)) == len(seen)
    (folder / "up").symlink_to(tmp_path)
    assert key(specs, "warm", text=str(folder)) is None


@pytest.mark.parametrize(
    "text",
    [
        "{0}/one,{0}/two",
        "{0}/two:{0}/one",
        "x; file://{0}/one",
        "gs://b/x,{0}",
        "{0}/o*e",
        "{0}/?ne,{0}/two",
        "{0}/**",
        '["{0}/two", "{0}/one"]',
        '{{"a": {{"b": "{0}/one,"}}}}',
        '{{"{0}/o[n]e": 1}}',
    ],
)
def test_a_text_counts_by_all_paths_that_it_names(specs: Path, tmp_path: Path, text: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.csv").write_text("a")
    before = key(specs, "warm", text=text.format(tmp_path))
    assert before is not None
    assert key(specs, "warm", text=text.format(tmp_path)) == before
    (tmp_path / "one" / "1.csv").write_text("b")
    assert key(specs, "warm", text=text.format(tmp_path)) != before


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("read {}", False),
        ("--data={}", False),
        ("{{'a': '{}'}}", False),
        ("{} {}", False),
        ("see (file://{}).", False),
        ("http:/{}", True),
        ("{}.none", True),
        ("a /none, and/or 1/2 : http://tmp/x", True),
        ("[" * 100_000, True),
    ],
)
def test_a_text_that_names_a_path_in_another_way_makes_a_step_run(
    specs: Path, tmp_path: Path, text: str, is_told: bool
) -> None:
    (tmp_path / "one").write_text("a")
    given = text.format(*[tmp_path / "one"] * 2)
    assert (key(specs, "warm", text=given) is not None) is is_told


def test_served_versions_count_and_not_that_one_was_verified_again(specs: Path, tmp_path: Path) -> None:
    def tell(event: str, version: int) -> None:
        append_history(tmp_path, HistoryEntry(version=version, event=event, time=now_text(), content_digest=""))

    def put(version: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_text(version)

    def now_key() -> str | None:
        return key(specs, "warm", text=str(tmp_path))

    (tmp_path / ".golden").mkdir()
    seen = [now_key()]
    for change in (
        lambda: (put("1"), tell("published", 1)),
        lambda: (put("2"), tell("published", 2)),
        lambda: (tmp_path / "1" / "saved_model.pb").write_text("by hand"),
        lambda: shutil.rmtree(tmp_path / "2"),
        lambda: shutil.rmtree(tmp_path / "1"),
        lambda: tell("withdrawn", 2),
        lambda: tell("withdrawn", 1),
        lambda: (tmp_path / HISTORY_NAME).write_text("broken"),
    ):
        change()
        seen.append(now_key())
        if len(seen) < 5:
            tell("verified again", min(len(seen) - 1, 2))
            tell("withdrawn", 9)
            (tmp_path / ".golden" / f"{len(seen)}.jsonl").write_text("{}")
            (tmp_path / ".deploy.lock").write_text(str(len(seen)))
            assert now_key() == seen[-1]
    assert None not in seen
    assert len(set(seen)) == len(seen)


def on_claim(specs: Path, pipeline: str, executor: str, claim: str, **mount: str) -> str:
    mounts = [{"mountPath": "/data", "constant": claim, **mount}]
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {executor: {"pvcMount": mounts}}}}}}
    return (specs / f"{pipeline}.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)


def test_a_claim_counts_by_its_name_and_by_what_was_written_to_it(specs: Path, store: Store) -> None:
    def look(claim: str) -> tuple[str, bool]:
        run = runs.execute(
            runs.create_run(on_claim(specs, "claim_read", "exec-look", claim), {}, store=store).id, store=store
        )
        task = store.task(run.id, "look")
        return task.outputs.parameters["Output"], task.is_cached

    def put(claim: str, text: str) -> bool:
        text_of_spec = on_claim(specs, "claim_written", "exec-put", claim)
        run = runs.execute(runs.create_run(text_of_spec, {"text": text}, store=store).id, store=store)
        return store.task(run.id, "put").is_cached

    assert [put("a", "A"), put("b", "B")] == [False, False]
    assert [look("a"), look("b"), look("a")] == [("A", False), ("B", False), ("A", True)]
    assert put("a", "A") is False  # the same bytes again: a step that writes is never answered from the cache
    assert [look("a"), look("b")] == [("A", False), ("B", True)]
    (store.home / "volumes" / "a" / "file").write_text("by hand")
    assert look("a") == ("by hand", False)
    assert [put("a", ""), put("a", "")] == [False, True]  # what only reads is remembered


def test_the_state_of_a_claim_is_what_lies_below_it(tmp_path: Path) -> None:
    def claim_key() -> str | None:
        volumes = Volumes(lasting={"/data": "claim/part"})
        try:
            return fingerprint({}, volumes=volumes, lasting=tmp_path).key
        except cache.NotCacheable:
            return None

    outside = tmp_path / "outside"
    outside.write_text("1")
    part = tmp_path / "claim" / "part"
    seen = [claim_key()]
    part.mkdir(parents=True)
    assert claim_key() == seen[0]
    for change in (
        lambda: (part / "x").write_text("1"),
        lambda: (part / "x").write_text("22"),
        lambda: os.utime(part / "x", ns=(0, 0)),
        lambda: (part / "x").rename(part / "y"),
        lambda: (part / "folder").mkdir(),
        lambda: (part / "link").symlink_to(outside),
        lambda: outside.write_text("22"),
        lambda: (part / "gone").symlink_to("/nowhere"),
        lambda: os.mkfifo(part / "fifo"),
        lambda: (part / "y").unlink(),
    ):
        change()
        seen.append(claim_key())
        assert claim_key() == seen[-1]
    assert None not in seen
    assert len(set(seen)) == len(seen)
    (tmp_path / "claim" / "beside").touch()
    assert claim_key() == seen[-1]


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


def key(specs: Path, task: str, code: str = "1", **parameters: Any) -> str | None:
    pipeline = parse_pipeline((specs / "ours.yaml").read_text())
    assert pipeline.root.dag is not None
    spec = pipeline.root.dag.tasks[task]
    component = pipeline.component_of(spec)
    container = pipeline.executors[component.executor].container
    assert container is not None
    try:
        return cache.take_fingerprint(spec, component, container, Values(parameters=parameters), code_digest=code).key
    except cache.NotCacheable:
        return None


def test_our_own_code_counts(specs: Path) -> None:
    assert key(specs, "warm", "1") == key(specs, "warm", "1")
    assert key(specs, "warm", "1") != key(specs, "warm", "2")
    assert key(specs, "warm", "1", text="a") != key(specs, "warm", "1", text="b")


def test_a_key_of_the_authors_own_stands_for_all_inputs(specs: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((specs / "ours.yaml").read_text())
    document["root"]["dag"]["tasks"]["warm"]["cachingOptions"]["cacheKey"] = "today"
    (tmp_path / "ours.yaml").write_text(json.dumps(document))
    assert key(tmp_path, "warm", text="a") == key(tmp_path, "warm", text="b") != key(specs, "warm", text="a")


def test_the_installed_code_has_one_digest() -> None:
    assert cache.installed_code() == cache.installed_code()


@pytest.mark.parametrize(("name", "is_reused"), [("deploy-serving", False), ("evaluate", True)])
def test_a_deployment_is_never_reused_even_if_the_author_of_the_pipeline_forgot_to_say_so(
    name: str, is_reused: bool
) -> None:
    pipeline = parse_pipeline((GOLDEN / "train_and_deploy.yaml").read_text())
    component = pipeline.components[f"comp-{name}"]
    container = pipeline.executors[component.executor].container
    assert container is not None
    task = TaskSpec(
        name=name,
        display_name=name,
        component=component.name,
        parameters={},
        artifacts={},
        depends_on=(),
        enables_cache=True,
    )
    refused = pytest.raises(cache.NotCacheable, match="its component is never reused")
    with contextlib.nullcontext() if is_reused else refused:
        cache.take_fingerprint(task, component, container, Values(), code_digest="")


def test_a_package_from_a_folder_of_this_machine_counts_by_its_content(specs: Path, tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    text = (specs / "packages.yaml").read_text().replace("numpy>=1", f"{package}[some]")
    (tmp_path / "ours.yaml").write_text(text)
    seen = []
    for content in ("1", "1", "2"):
        (package / "setup.py").write_text(content)
        seen.append(key(tmp_path, "wants-packages"))
    assert seen[0] == seen[1] != seen[2]
    assert None not in seen


def test_a_named_pipe_makes_a_step_run_rather_than_hang(specs: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert key(specs, "warm", text=str(tmp_path / "pipe")) is None
    assert key(specs, "warm", text=str(tmp_path)) is None
    assert key(specs, "warm", text="/no\0path") is not None
    assert key(specs, "warm", text={"separator": "/"}) is not None


def test_the_values_of_secrets_and_config_maps_count(specs: Path, store: Store) -> None:
    mount = [{"configMapName": "m", "mountPath": "/keys"}]
    secret = [{"secretName": "k", "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}]
    claim = [{"constant": "c", "mountPath": "/data"}]
    (store.home / "volumes" / "c").mkdir(parents=True)
    (store.home / "volumes" / "c" / "file").write_text("text")
    named = [{"name": "POD", "fieldPath": "metadata.name"}]
    config = {"secretAsEnv": secret, "configMapAsVolume": mount, "fieldPathAsEnv": named, "pvcMount": claim}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-look": config}}}}}
    text = (specs / "claim_read.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)

    def is_cached(a: str, file: str) -> bool:
        values = {"secrets": {"k": {"a": a}}, "config_maps": {"m": {"x": file}}}
        (store.home / "secrets.yaml").write_text(yaml.safe_dump(values))
        run = runs.execute(runs.create_run(text, {}, store=store).id, store=store)
        return store.task(run.id, "look").is_cached

    given = [("1", "1"), ("1", "1"), ("2", "1"), ("2", "2"), ("1", "1")]
    assert [is_cached(*each) for each in given] == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"env": [{"name": "A", "value": "2"}]}, "env"),
        ({"command": ["sh", "-c"]}, "program"),
        ({"args": ["other"]}, "program"),
        ({"image": "python:3.12"}, "image"),
        ({"resources": {"cpuLimit": 9.0, "accelerator": {"type": "nvidia.com/gpu", "count": "2"}}}, None),
    ],
)
def test_what_counts_of_a_container_is_what_counts_for_kfp(change: dict[str, Any], part: str | None) -> None:
    """GenerateCacheKey in backend/src/v2/cacheutils/cache.go of kubeflow/pipelines: image, command, arguments, env."""
    container = {"image": "python:3.11", "command": ["sh"], "args": ["x"], "env": [{"name": "A", "value": "1"}]}
    before, after = fingerprint(container), fingerprint(container | change)
    assert [name for name in before.parts if before.parts[name] != after.parts[name]] == ([part] if part else [])
    assert (before.key == after.key) is (part is None)


def test_a_process_and_an_image_stand_for_each_other_never() -> None:
    container = {"image": "python:3.11", "command": ["sh"]}
    keys = [fingerprint(container, image_id=each).key for each in ("", "sha256:1", "sha256:2", "sha256:1")]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3], "whatever its name is pulled to by then"


def test_a_secret_is_recorded_by_nothing_that_tries_values_fast() -> None:
    container = {"image": "python:3.11", "command": ["sh"]}
    one, other = (fingerprint(container, given={"PIN": pin}) for pin in ("1234", "1235"))
    assert one.parts["given"] != other.parts["given"]
    text = json.dumps([{"PIN": "1234"}, {}], sort_keys=True).encode()
    plain = {hashlib.sha256(each).hexdigest() for each in (b"1234", text)}
    assert plain.isdisjoint(one.parts.values())


def test_a_key_of_the_authors_own_stands_for_packages_and_not_for_what_a_step_runs_in() -> None:
    def taken(version: str, **more: Any) -> set[tuple[str, str]]:
        return set(fingerprint({}, "own", find_libraries=lambda: {"x": version}, **more).parts.items())

    assert taken("1") == taken("2")
    assert {name for name, _ in taken("1") ^ taken("1", image_id="i", given={"A": "1"})} == {"isolation", "given"}


def fingerprint(container: dict[str, Any], cache_key: str = "", **more: Any) -> Fingerprint:
    component = Component(
        name="comp-x", input_parameters={}, input_artifacts={}, output_parameters={}, output_artifacts={}
    )
    task = TaskSpec(
        name="x",
        display_name="x",
        component="comp-x",
        parameters={},
        artifacts={},
        depends_on=(),
        enables_cache=True,
        cache_key=cache_key,
    )
    return cache.take_fingerprint(task, component, container, Values(), code_digest="", **more)


def test_a_folder_that_is_only_part_of_a_text_does_not_count_by_its_content(execute: Execute, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert execute("part_of_a_text", folder=str(folder)).output("say-back") == f"{folder}x"
    (folder / "file").touch()
    assert execute("part_of_a_text", folder=str(folder)).tasks["say-back"].is_cached
    (tmp_path / "other").mkdir()
    assert not execute("part_of_a_text", folder=str(tmp_path / "other")).tasks["say-back"].is_cached
