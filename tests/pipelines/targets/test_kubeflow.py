"""Kubeflow through the real kfp.Client: what it sends, how a run is followed, what a person hears when it fails."""

from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.images import CPU_IMAGE
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.targets.kubeflow.target import Kubeflow
from trainwright_pipelines.targets.protocol import RunStatus, Submission

REAL_IMAGE = "registry.example/trainwright:1"
HEALTHY = (200, {"multi_user": False})
PARAMETERS = {"module": "gs://bucket/m.py", "n": 2, "settings": {"epochs": 3}}


def target(address: str, **more: Any) -> Kubeflow:
    return Kubeflow(host=address, images={CPU_IMAGE: REAL_IMAGE}, poll_s=0.01, **more)


def test_a_run_is_sent_with_its_spec_parameters_and_settings(kubeflow: Any, pipeline: CompiledPipeline) -> None:
    made = target(kubeflow.address, experiment="nightly", pipeline_root="gs://bucket/root", service_account="runner")
    submission = made.submit(pipeline, PARAMETERS)
    assert submission == Submission(target="kubeflow", run_id="run-1", url=f"{kubeflow.address}/#/runs/details/run-1")
    [experiment] = kubeflow.of("POST", "/experiments$")
    assert experiment.json["display_name"] == "nightly"
    [run] = kubeflow.of("POST", "/runs$")
    body = run.json
    assert body["runtime_config"] == {"parameters": PARAMETERS, "pipeline_root": "gs://bucket/root"}
    assert (body["experiment_id"], body["service_account"]) == ("experiment-1", "runner")
    assert body["display_name"].startswith("sample 20")
    assert body["pipeline_spec"]["deploymentSpec"]["executors"]["exec-use"]["container"]["image"] == REAL_IMAGE


def test_the_platform_document_goes_along(kubeflow: Any, with_platform: CompiledPipeline) -> None:
    target(kubeflow.address).submit(with_platform, PARAMETERS)
    [run] = kubeflow.of("POST", "/runs$")
    assert run.json["pipeline_spec"]["platform_spec"] == with_platform.platform
    assert "root" in run.json["pipeline_spec"]["pipeline_spec"]


def test_a_name_is_sent_and_no_cache_switches_the_cache_off_in_every_step(
    kubeflow: Any, pipeline: CompiledPipeline
) -> None:
    target(kubeflow.address).submit(pipeline, PARAMETERS, name="nightly", use_cache=False)
    [run] = kubeflow.of("POST", "/runs$")
    assert run.json["display_name"] == "nightly"
    assert run.json["pipeline_spec"]["root"]["dag"]["tasks"]["use"]["cachingOptions"] == {}


def test_a_local_module_is_uploaded_and_its_uri_sent(
    kubeflow: Any, storage: Any, pipeline: CompiledPipeline, module_file: Path
) -> None:
    target(kubeflow.address, pipeline_root="gs://bucket/root").submit(pipeline, {"module": str(module_file)})
    [run] = kubeflow.of("POST", "/runs$")
    uri = run.json["runtime_config"]["parameters"]["module"]
    assert storage.objects[uri.removeprefix("gs://")] == module_file.read_bytes()


def test_nothing_is_sent_while_an_image_or_a_path_is_open(
    kubeflow: Any, storage: Any, pipeline: CompiledPipeline, module_file: Path
) -> None:
    refused: list[tuple[Kubeflow, dict[str, Any], str]] = [
        (Kubeflow(host=kubeflow.address), PARAMETERS, "does not exist yet"),
        (target(kubeflow.address), {"module": str(module_file)}, "pipeline_root"),
        (target(kubeflow.address), {**PARAMETERS, "settings": {"file": str(module_file)}}, r"'settings\.file'"),
        (
            target(kubeflow.address),
            {**PARAMETERS, "settings": {"seed": 2**60}},
            r"'settings\.seed' is 1152921504606846976",
        ),
        (Kubeflow(), PARAMETERS, "needs --option host="),
    ]
    for made, parameters, message in refused:
        with pytest.raises(InvalidSetting, match=message):
            made.submit(pipeline, parameters)
    assert not kubeflow.requests
    assert not storage.requests


def test_a_run_is_followed_step_by_step_to_its_end(kubeflow: Any, pipeline: CompiledPipeline) -> None:
    made = target(kubeflow.address)
    submission = made.submit(pipeline, PARAMETERS)
    times = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:07Z"}
    driver = {"display_name": "use-driver", "state": "SUCCEEDED"}
    use, note = {"display_name": "use"}, {"display_name": "note"}
    kubeflow.states = [
        {"state": "PENDING"},
        {"state": "RUNNING", "run_details": {"task_details": [driver, {**use, "state": "RUNNING"}]}},
        {"state": "RUNNING", "run_details": {"task_details": [driver, {**use, "state": "RUNNING"}]}},
        {
            "state": "FAILED",
            "error": {"code": 13, "message": "one step failed"},
            "run_details": {
                "task_details": [{**use, "state": "FAILED", **times}, {**note, "state": "SUCCEEDED", **times}]
            },
        },
    ]
    seen: list[RunStatus] = []
    last = made.follow(submission, seen.append)
    assert [status.state for status in seen] == ["PENDING", "RUNNING", "FAILED"], "each change once"
    assert {task.name: (task.state, task.seconds) for task in last.tasks} == {
        "note": ("SUCCEEDED", 7.0),
        "use": ("FAILED", 7.0),
    }
    assert [task.name for task in seen[1].tasks] == ["use"], "Argo's own nodes are not steps"
    assert last.message == "one step failed"


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_following_ends_on_every_final_state(kubeflow: Any, state: str) -> None:
    kubeflow.states = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": state}]
    submission = Submission(target="kubeflow", run_id="run-1")
    assert target(kubeflow.address).follow(submission, lambda _: None).state == state


def test_following_rides_out_a_short_loss_of_contact(kubeflow: Any) -> None:
    kubeflow.states = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    kubeflow.faults = [HEALTHY, HEALTHY, (503, {"message": "restarting"}), (503, {"message": "restarting"})]
    assert target(kubeflow.address).follow(Submission(target="kubeflow", run_id="run-1"), lambda _: None).is_finished


def test_following_gives_up_when_the_run_is_gone_and_says_where_to_look(kubeflow: Any) -> None:
    submission = Submission(target="kubeflow", run_id="run-2", url="http://page")
    with pytest.raises(TargetUnavailable, match=r"lost contact \(.*404 no /apis/v2beta1/runs/run-2\); .* http://page"):
        target(kubeflow.address).follow(submission, lambda _: None)


def test_a_refused_connection_is_said_in_one_line(closed_address: str, pipeline: CompiledPipeline) -> None:
    with pytest.raises(TargetUnavailable, match=rf"cannot reach Kubeflow at {closed_address}: .*Connection refused"):
        target(closed_address).submit(pipeline, PARAMETERS)


def test_what_the_server_says_is_passed_on(kubeflow: Any, pipeline: CompiledPipeline) -> None:
    kubeflow.faults = [HEALTHY, HEALTHY, (400, {"code": 3, "message": "experiment name is too long"})]
    with pytest.raises(TargetUnavailable, match="refuses: 400 experiment name is too long"):
        target(kubeflow.address).submit(pipeline, PARAMETERS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [((401, {}), r"refuses access \(401\): give --option token_file"), ((404, {}), "is not a Kubeflow Pipelines API")],
)
def test_another_kind_of_server_is_recognized_at_once(
    kubeflow: Any, pipeline: CompiledPipeline, fault: tuple[int, Any], message: str
) -> None:
    kubeflow.faults = [fault]
    with pytest.raises(TargetUnavailable, match=message):
        target(kubeflow.address).submit(pipeline, PARAMETERS)
    assert len(kubeflow.requests) == 1


def test_the_token_is_sent_as_a_bearer(kubeflow: Any, pipeline: CompiledPipeline, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    target(kubeflow.address, token_file=str(tmp_path / "token")).submit(pipeline, PARAMETERS)
    assert {request.headers.get("authorization") for request in kubeflow.requests} == {"Bearer abc"}


def test_options_are_checked_without_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://other:1/")
    monkeypatch.setenv("TRAINWRIGHT_IMAGES", "cpu=a:1,gpu=b:1")
    made = Kubeflow.from_options({"images": "cpu=c:2"})
    assert made.host == "http://other:1"
    assert made.images == {"trainwright/cpu": "c:2", "trainwright/gpu": "b:1"}
    with pytest.raises(InvalidSetting, match="host must begin with http"):
        Kubeflow.from_options({"host": "other:1"})
    with pytest.raises(InvalidSetting, match="token_file: there is no file absent"):
        Kubeflow.from_options({"token_file": "absent"})
