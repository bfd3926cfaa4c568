"""A model's life in service: first version, next version under load, bad versions, the same again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.deploy_serving.deploy import Deployment, deploy_model
from trainwright_components.deploy_serving.history import golden_requests_file, read_history
from trainwright_components.deploy_serving.record import metadata_of, record_of, write_record
from trainwright_components.errors import (
    ComparisonOutdated,
    DeploymentRejected,
    InvalidData,
    InvalidSetting,
    ServingUnavailable,
)
from trainwright_components.model_server.operation.client import predict, version_states
from trainwright_components.model_server.operation.control import server_status, start_server, stop_server
from trainwright_components.model_server.operation.programs import TENSORFLOW_SERVING
from trainwright_components.saved_models.versions import list_versions

NAME = "line"


@pytest.fixture(scope="module")
def both(home: Path, half: Path, half_golden: Path) -> list[Deployment]:
    """The same model deployed twice at the same time: the publisher, then the one that came too late."""
    with ThreadPoolExecutor(2) as pool:
        deployments = [pool.submit(deploy_model, half, half_golden, model_name=NAME, home=home) for _ in range(2)]
    return sorted((deployment.result() for deployment in deployments), key=lambda d: not d.is_new_version)


@pytest.fixture(scope="module")
def first(both: list[Deployment]) -> Deployment:
    """The first version of `line`."""
    return both[0]


@contextmanager
def asking(address: str) -> Iterator[tuple[list[float], list[Exception]]]:
    """Ask the model all the time; gives the answers to x = 4 and the failures."""
    is_over = threading.Event()
    answers: list[float] = []
    failures: list[Exception] = []

    def ask() -> None:
        while not is_over.wait(0.002):
            try:
                answers.extend(predict(address, NAME, instances=[4.0]))
            except ServingUnavailable as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers, failures
    finally:
        is_over.set()
        thread.join()


def test_the_first_version_is_served(home: Path, half: Path, first: Deployment) -> None:
    assert (first.version, first.previous_version, first.is_new_version) == (1, None, True)
    assert first.base_path == home / "models" / NAME
    expected = tf.saved_model.load(str(half)).signatures["serving_default"](x=tf.constant([7.0]))["y"].numpy()
    np.testing.assert_array_equal(predict(first.server.rest_address, NAME, instances=[7.0]), expected)
    assert first.golden.requests == 4
    assert first.golden.largest_difference < 1e-6


def test_publishers_at_the_same_time_take_turns(both: list[Deployment]) -> None:
    assert [(d.version, d.is_new_version) for d in both] == [(1, True), (1, False)]
    assert list_versions(both[0].base_path) == [1]
    assert [entry.event for entry in both[1].history] == ["published", "verified again"]


def test_the_curl_line_works_when_pasted(first: Deployment) -> None:
    line = metadata_of(first)["curl"]
    assert first.rest_url in line
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout
    assert json.loads(answer) == {"predictions": [2.0]}


def test_the_record_tells_what_was_done(first: Deployment, tmp_path: Path) -> None:
    write_record(first, tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record == record_of(first)
    assert record["rest_url"] == f"http://127.0.0.1:{first.server.rest_port}/v1/models/{NAME}"
    assert record["grpc_address"] == f"127.0.0.1:{first.server.grpc_port}"
    assert record["stop_command"] == "trainwright serve stop"
    assert [(entry["version"], entry["event"]) for entry in record["history"]] == [(1, "published")]


def test_the_requests_that_proved_a_version_are_kept_beside_it(first: Deployment, half_golden: Path) -> None:
    assert golden_requests_file(first.base_path, 1).read_bytes() == half_golden.read_bytes()


def test_the_same_content_is_only_verified_again(home: Path, half: Path, half_golden: Path, first: Deployment) -> None:
    again = deploy_model(half, half_golden, model_name=NAME, home=home)
    assert (again.version, again.is_new_version) == (1, False)
    assert list_versions(first.base_path) == [1]
    assert read_history(first.base_path)[-1].event == "verified again"


def test_a_live_version_that_answers_otherwise_is_reported_and_left(
    home: Path, half: Path, triple_golden: Path, first: Deployment
) -> None:
    with pytest.raises(DeploymentRejected, match=r"version 1 of 'line', which is live, .* Nothing was changed"):
        deploy_model(half, triple_golden, model_name=NAME, home=home)
    assert list_versions(first.base_path) == [1]
    assert predict(first.server.rest_address, NAME, instances=[4.0]) == [4.0]


def test_a_version_that_fails_its_golden_requests_is_never_reached(
    home: Path, triple: Path, half_golden: Path, first: Deployment
) -> None:
    with asking(first.server.rest_address) as (answers, failures), pytest.raises(DeploymentRejected) as rejected:
        deploy_model(triple, half_golden, model_name=NAME, home=home)
    message = str(rejected.value)
    assert "version 2 of 'line' was withdrawn" in message
    assert "golden request 3 (serving_default)" in message
    assert "output 'y' differs by 20, more than the tolerance 1e-05; 6 of 8 answers are not as they must be" in message
    assert "Version 1 keeps serving" in message
    assert not failures
    assert set(answers) == {4.0}
    assert list_versions(first.base_path) == [1]
    assert read_history(first.base_path)[-1].event == "withdrawn"
    assert not golden_requests_file(first.base_path, 2).exists()


def test_a_version_that_cannot_be_loaded_is_withdrawn(
    home: Path, half: Path, half_golden: Path, first: Deployment, tmp_path: Path
) -> None:
    broken = shutil.copytree(half, tmp_path / "broken")
    for file in (broken / "variables").iterdir():
        file.unlink()
    with pytest.raises(DeploymentRejected, match=r"it cannot be loaded: .*Version 1 keeps serving"):
        deploy_model(broken, half_golden, model_name=NAME, home=home)
    assert predict(first.server.rest_address, NAME, instances=[4.0]) == [4.0]


def test_the_next_version_replaces_it_without_a_failed_request(
    home: Path, triple: Path, triple_golden: Path, first: Deployment
) -> None:
    with asking(first.server.rest_address) as (answers, failures):
        second = deploy_model(triple, triple_golden, model_name=NAME, home=home, compared_with="1")
    assert (second.version, second.previous_version, second.is_new_version) == (4, 1, True)
    assert second.rest_url == first.rest_url
    assert not failures
    assert answers == sorted(answers)
    assert set(answers) == {4.0, 14.0}
    assert predict(second.server.rest_address, NAME, instances=[4.0]) == [14.0]
    events = [(entry.version, entry.event) for entry in second.history if entry.event != "verified again"]
    assert events == [(1, "published"), (2, "withdrawn"), (3, "withdrawn"), (4, "published")]


def test_nothing_is_left_beside_the_versions(first: Deployment) -> None:
    hidden = {child.name for child in first.base_path.iterdir() if not child.name.isdigit()}
    assert hidden == {".deploy.lock", ".deployments.json", ".golden"}


def test_a_base_path_of_ones_own_is_used_and_models_live_side_by_side(
    home: Path, half: Path, half_golden: Path, first: Deployment, tmp_path: Path
) -> None:
    other = deploy_model(half, half_golden, model_name="other", home=home, base_path=str(tmp_path / "base"))
    assert list_versions(tmp_path / "base") == [1]
    assert predict(other.server.rest_address, "other", instances=[4.0]) == [4.0]
    assert predict(other.server.rest_address, NAME, instances=[4.0])
    with pytest.raises(InvalidSetting, match="model 'other' is already served from"):
        deploy_model(half, half_golden, model_name="other", home=home)
    status = server_status(home)
    assert status is not None
    assert [model.name for model in status.models] == [NAME, "other"]


def test_a_version_that_only_the_serving_process_cannot_load_is_withdrawn(
    home: Path,
    half: Path,
    half_golden: Path,
    triple: Path,
    triple_golden: Path,
    first: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trainwright_components.deploy_serving import deploy
    from trainwright_components.saved_models.versions import publish

    def publish_damaged(stage: Path, base_path: Path, version: int) -> Path:
        (stage / str(version) / "saved_model.pb").write_bytes(b"damaged on the way")
        return publish(stage, base_path, version)

    monkeypatch.setattr(deploy, "publish", publish_damaged)
    live = list_versions(first.base_path)[-1]
    # What is live already would only be verified again, and not be published.
    half_is_live = predict(first.server.rest_address, NAME, instances=[4.0]) == [4.0]
    model, golden = (triple, triple_golden) if half_is_live else (half, half_golden)
    with pytest.raises(DeploymentRejected, match="it cannot be loaded"):
        deploy_model(model, golden, model_name=NAME, home=home)
    assert list_versions(first.base_path)[-1] == live
    status = server_status(home)
    assert status is not None
    assert next(model for model in status.models if model.name == NAME).live_version == live


@pytest.mark.usefixtures("first")
def test_a_number_whose_folder_came_and_went_while_the_server_looked_is_passed_over(
    home: Path, half: Path, half_golden: Path, triple: Path, triple_golden: Path
) -> None:
    before = deploy_model(half, half_golden, model_name="visited", home=home)
    folder = before.base_path / "2"
    folder.mkdir()
    deadline = time.monotonic() + 60
    while (version_states(before.server.rest_address, "visited") or {}).get(2, ("",))[0] != "END":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    folder.rmdir()
    after = deploy_model(triple, triple_golden, model_name="visited", home=home)
    assert [(each.version, each.event) for each in after.history] == [(1, "published"), (3, "published")]
    assert predict(after.server.rest_address, "visited", instances=[4.0]) == [14.0]


def test_of_two_models_that_were_compared_with_the_same_version_one_is_published(
    home: Path, half: Path, half_golden: Path, triple: Path, triple_golden: Path, first: Deployment
) -> None:
    candidates = {"run-a": (half, half_golden), "run-b": (triple, triple_golden)}
    options: dict[str, Any] = {"model_name": "raced", "home": home}
    with ThreadPoolExecutor(2) as pool:
        futures = {
            run: pool.submit(deploy_model, *files, **options, compared_with="none", run=run)
            for run, files in candidates.items()
        }
    (winner,) = (run for run, future in futures.items() if future.exception() is None)
    (loser,) = set(futures) - {winner}
    outdated = futures[loser].exception()
    assert isinstance(outdated, ComparisonOutdated)
    assert outdated.stale_input == "compared_with"
    assert f"when no version was served, but version 1, published by the run {winner}, is live now" in str(outdated)
    base_path = futures[winner].result().base_path
    assert list_versions(base_path) == [1]
    assert [(entry.event, entry.run) for entry in read_history(base_path)] == [("published", winner)]
    again = deploy_model(*candidates[winner], **options, compared_with="none")
    assert (again.version, again.is_new_version) == (1, False)


def versions_at(base_path: Path, half: Path, *versions: str) -> Path:
    """A base path with versions that no run deployed, each with content of its own."""
    for version in versions:
        shutil.copytree(half, base_path / version)
        (base_path / version / "note").write_text(version)
    return base_path


@pytest.mark.parametrize(
    ("versions", "compared_with", "words"),
    [
        (["1"], "none", "evaluated when no version was served, but version 1 is live now"),
        (["1", "2"], "1", "evaluated with version 1, but version 2 is live now"),
        (["1", "3"], "4", "evaluated with version 4, but version 3 is live now"),
        ([], "4", "evaluated with version 4, but no version is live now"),
        (["9", "10"], "9", "evaluated with version 9, but version 10 is live now"),
    ],
)
def test_nothing_is_published_where_another_version_is_live_than_the_model_was_compared_with(
    tmp_path: Path, half: Path, half_golden: Path, versions: list[str], compared_with: str, words: str
) -> None:
    base_path = versions_at(tmp_path / "base", half, *versions)
    with pytest.raises(ComparisonOutdated, match=words):
        deploy_model(
            half,
            half_golden,
            model_name="m",
            home=tmp_path / "home",
            base_path=base_path,
            compared_with=compared_with,
        )
    assert list_versions(base_path) == sorted(map(int, versions))
    assert server_status(tmp_path / "home") is None


def test_a_version_that_another_program_publishes_during_the_smoke_test_is_not_replaced(
    home: Path, half: Path, half_golden: Path, first: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainwright_components.deploy_serving import deploy

    monkeypatch.setattr(deploy, "smoke_test", lambda candidate, *_: versions_at(candidate.base_path, half, "7"))
    with pytest.raises(ComparisonOutdated, match=r"no version was served, but version 7 is live now"):
        deploy_model(half, half_golden, model_name="m", home=home, base_path=tmp_path / "base", compared_with="none")
    assert list_versions(tmp_path / "base") == [7]


@pytest.mark.parametrize("compared_with", ["latest", "-1", "1.5", "²", " 1"])
def test_what_is_no_version_cannot_be_compared_with(
    tmp_path: Path, half: Path, half_golden: Path, compared_with: str
) -> None:
    with pytest.raises(InvalidSetting, match="compared_with must be a version's number, 'none' or empty"):
        deploy_model(half, half_golden, model_name="m", home=tmp_path, compared_with=compared_with)


@pytest.mark.slow
def test_a_version_that_brings_the_serving_process_down_is_withdrawn(
    home: Path, half: Path, half_golden: Path, first: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainwright_components.deploy_serving import deploy
    from trainwright_components.saved_models.versions import publish

    killers: list[threading.Thread] = []

    def kill_while_published(folder: Path) -> None:
        killed: set[int | None] = {None}
        while folder.is_dir():
            status = server_status(home)
            if status is not None and status.info.server_pid not in killed:
                killed.add(status.info.server_pid)
                os.kill(status.info.server_pid or 0, signal.SIGKILL)

    def publish_deadly(stage: Path, base_path: Path, version: int) -> Path:
        folder = publish(stage, base_path, version)
        killers.append(threading.Thread(target=kill_while_published, args=(folder,)))
        killers[0].start()
        return folder

    monkeypatch.setattr(deploy, "publish", publish_deadly)
    live = list_versions(first.base_path)[-1]
    other = shutil.copytree(half, tmp_path / "other")
    (other / "assets.extra").mkdir()
    (other / "assets.extra" / "note").write_text("other content")
    with pytest.raises(DeploymentRejected, match="the server ended 2 times while loading it"):
        deploy_model(other, half_golden, model_name=NAME, home=home)
    killers[0].join()
    status = server_status(home)
    assert status is not None
    assert next(model for model in status.models if model.name == NAME).live_version == live


def test_a_first_version_that_fails_leaves_no_model(
    home: Path, half: Path, triple_golden: Path, first: Deployment
) -> None:
    with pytest.raises(DeploymentRejected, match="No version of it is served"):
        deploy_model(half, triple_golden, model_name="unborn", home=home)
    status = server_status(home)
    assert status is not None
    assert "unborn" not in {model.name for model in status.models}


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "got ''"), ("a/b", "got 'a/b'"), ("a:b", "got 'a:b'"), (".hidden", "got '.hidden'"), ("x" * 128, "1 to 127")],
)
def test_names_that_make_no_address_are_refused(
    tmp_path: Path, half: Path, half_golden: Path, name: str, message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        deploy_model(half, half_golden, model_name=name, home=tmp_path)


def test_what_is_missing_or_broken_is_named_before_anything_starts(
    tmp_path: Path, half: Path, half_golden: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match=r"empty holds no saved_model.pb"):
        deploy_model(tmp_path / "empty", half_golden, model_name="m", home=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSetting, match="cannot be written to"):
        deploy_model(half, half_golden, model_name="m", home=tmp_path, base_path=tmp_path / "file" / "base")
    with pytest.raises(InvalidData, match="holds no golden requests"):
        deploy_model(half, tmp_path / "file", model_name="m", home=tmp_path)
    with pytest.raises(InvalidData, match="cannot read golden requests"):
        deploy_model(half, tmp_path / "missing", model_name="m", home=tmp_path)
    (tmp_path / "file").write_text('{"inputs": {}}\n')
    with pytest.raises(InvalidData, match="line 1, is not a golden request: 'outputs'"):
        deploy_model(half, tmp_path / "file", model_name="m", home=tmp_path)
    assert server_status(tmp_path) is None


def test_the_component_hands_on_what_pages_and_the_command_line_show(
    home: Path, half: Path, half_golden: Path, first: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp import dsl

    from trainwright_components.deploy_serving.component import deploy_serving

    monkeypatch.setenv("TRAINWRIGHT_HOME", str(home))
    monkeypatch.setenv("TRAINWRIGHT_RUN", "run-a")
    deployment = dsl.Artifact(uri=str(tmp_path / "deployment"))
    outputs = deploy_serving.python_func(
        saved_model=dsl.Model(uri=str(half)),
        golden_requests=dsl.Artifact(uri=str(half_golden)),
        deployment=deployment,
        model_name="by-component",
        compared_with="none",
    )
    assert read_history(home / "models" / "by-component")[-1].run == "run-a"
    assert outputs == (f"{first.server.rest_address}/v1/models/by-component", 1)
    assert set(deployment.metadata) == {"rest_url", "grpc_address", "version", "curl", "stop_command"}
    assert json.loads((tmp_path / "deployment").read_text())["version"] == 1


def test_the_server_survives_the_process_that_deployed(home: Path, first: Deployment) -> None:
    assert start_server(home).supervisor_pid == first.server.supervisor_pid


@pytest.mark.slow
def test_the_server_that_the_home_was_told_to_use_smoke_tests_and_serves(
    tmp_path: Path, half: Path, half_golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, program, record = tmp_path / "home", tmp_path / "bin" / TENSORFLOW_SERVING, tmp_path / "starts"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho start >> {record}\nexec {sys.executable} -m trainwright_components.model_server.main "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    start_server(home, program=TENSORFLOW_SERVING)
    try:
        deployment = deploy_model(half, half_golden, model_name=NAME, home=home)
        assert deployment.server.program == TENSORFLOW_SERVING
        assert predict(deployment.server.rest_address, NAME, instances=[4.0]) == [4.0]
        assert record.read_text().splitlines() == ["start"] * 2
    finally:
        stop_server(home)
