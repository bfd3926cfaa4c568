"""Vertex AI through the real google-cloud-aiplatform: what it sends, how a job is followed, what a person hears."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidPipeline, InvalidSetting, TargetUnavailable
from trainwright_components.images import CPU_IMAGE
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.targets.protocol import RunStatus, Submission
from trainwright_pipelines.targets.vertex.target import Vertex

REAL_IMAGE = "registry.example/trainwright:1"
PARAMETERS = {"module": "gs://bucket/m.py", "n": 2, "settings": {"epochs": 3}}
JOB = "projects/p/locations/us-central1/pipelineJobs/sample-1"


def target(address: str, **more: Any) -> Vertex:
    given = {"project": "p", "pipeline_root": "gs://bucket/root", "images": {CPU_IMAGE: REAL_IMAGE}, **more}
    return Vertex(endpoint=address, poll_s=0.01, **given)


def test_a_job_is_sent_with_its_spec_parameters_and_settings(vertex: Any, pipeline: CompiledPipeline) -> None:
    started = time.monotonic()
    made = target(vertex.address, service_account="runner@p.iam", failure_policy="fast")
    submission = made.submit(pipeline, PARAMETERS)
    assert time.monotonic() - started < 30, "no lookup of the bucket's owner"
    [request] = vertex.requests
    assert request.path == "/v1/projects/p/locations/us-central1/pipelineJobs"
    job_id = request.query["pipelineJobId"]
    assert re.fullmatch(r"sample-\d{14}-[0-9a-f]{4}", job_id)
    assert submission.run_id == f"{request.path.removeprefix('/v1/')}/{job_id}"
    assert submission.url.endswith(f"/us-central1/runs/{job_id}?project=p")
    body = request.json
    assert body["displayName"] == "sample"
    assert body["serviceAccount"] == "runner@p.iam"
    runtime = body["runtimeConfig"]
    assert runtime["gcsOutputDirectory"] == "gs://bucket/root"
    assert runtime["parameterValues"] == {"module": "gs://bucket/m.py", "n": 2.0, "settings": {"epochs": 3.0}}
    assert runtime["failurePolicy"] in (2, "PIPELINE_FAILURE_POLICY_FAIL_FAST")
    container = body["pipelineSpec"]["deploymentSpec"]["executors"]["exec-use"]["container"]
    assert container["image"] == REAL_IMAGE
    assert "cpuRequest" not in container["resources"]
    assert "authorization" not in request.headers, "plain HTTP never carries a token"


def test_a_name_is_sent_and_no_cache_switches_the_cache_off_in_every_step(
    vertex: Any, pipeline: CompiledPipeline
) -> None:
    target(vertex.address).submit(pipeline, PARAMETERS, name="nightly", use_cache=False)
    assert vertex.requests[0].json["displayName"] == "nightly"
    tasks = vertex.requests[0].json["pipelineSpec"]["root"]["dag"]["tasks"]
    assert tasks["use"]["cachingOptions"] == {"enableCache": False}


def test_a_local_module_is_uploaded_and_its_uri_sent(
    vertex: Any, storage: Any, pipeline: CompiledPipeline, module_file: Path
) -> None:
    target(vertex.address).submit(pipeline, {"module": str(module_file)})
    uri = vertex.requests[0].json["runtimeConfig"]["parameterValues"]["module"]
    assert uri.startswith("gs://bucket/root/modules/")
    assert storage.objects[uri.removeprefix("gs://")] == module_file.read_bytes()


def test_nothing_is_sent_while_something_is_open(
    vertex: Any, storage: Any, pipeline: CompiledPipeline, with_platform: CompiledPipeline, module_file: Path
) -> None:
    refused = [
        (target(vertex.address, images={}), pipeline, PARAMETERS, "does not exist yet"),
        (target(vertex.address), with_platform, PARAMETERS, "secretAsEnv"),
        (target(vertex.address), pipeline, {**PARAMETERS, "settings": {"x": str(module_file)}}, r"'settings\.x'"),
        (target(vertex.address, pipeline_root=""), pipeline, PARAMETERS, "needs --option pipeline_root="),
        (target(vertex.address, project=""), pipeline, PARAMETERS, "needs --option project="),
    ]
    for made, lowered, parameters, message in refused:
        with pytest.raises((InvalidSetting, InvalidPipeline), match=message):
            made.submit(lowered, parameters)
    assert not vertex.requests
    assert not storage.requests


def test_a_parameter_that_the_pipeline_does_not_have_is_named(vertex: Any, pipeline: CompiledPipeline) -> None:
    with pytest.raises(InvalidPipeline, match=r"does not accept pipeline 'sample': .*epochs"):
        target(vertex.address).submit(pipeline, {**PARAMETERS, "epochs": 3})


def test_a_job_is_followed_to_its_end_in_kfps_words(vertex: Any) -> None:
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:07Z"}
    failed = {"taskName": "use", "state": "FAILED", "error": {"code": 13, "message": "exit code 1"}, **times}
    vertex.states = [
        {"state": "PIPELINE_STATE_QUEUED"},
        {"state": "PIPELINE_STATE_RUNNING", "jobDetail": {"taskDetails": [{"taskName": "use", "state": "RUNNING"}]}},
        {
            "state": "PIPELINE_STATE_FAILED",
            "error": {"code": 9, "message": "The DAG failed because some tasks failed."},
            "jobDetail": {"taskDetails": [failed]},
        },
    ]
    seen: list[RunStatus] = []
    last = target(vertex.address).follow(Submission(target="vertex", run_id=JOB), seen.append)
    assert [status.state for status in seen] == ["PENDING", "RUNNING", "FAILED"]
    [task] = last.tasks
    assert (task.name, task.state, task.seconds, task.message) == ("use", "FAILED", 7.0, "exit code 1")
    assert last.message == "The DAG failed because some tasks failed."


def test_following_ends_on_a_canceled_job(vertex: Any) -> None:
    vertex.states = [{"state": "PIPELINE_STATE_CANCELLING"}, {"state": "PIPELINE_STATE_CANCELLED"}]
    seen: list[RunStatus] = []
    assert target(vertex.address).follow(Submission(target="vertex", run_id=JOB), seen.append).state == "CANCELED"
    assert seen[0].state == "CANCELING"


def test_a_refused_connection_is_said_in_one_line(closed_address: str, pipeline: CompiledPipeline) -> None:
    with pytest.raises(TargetUnavailable, match=rf"cannot reach Vertex AI at {closed_address}: .*Connection refused"):
        target(closed_address).submit(pipeline, PARAMETERS)


def test_what_the_server_says_is_passed_on(vertex: Any, pipeline: CompiledPipeline) -> None:
    message = "You do not have permission to act as service_account"
    vertex.faults = [(403, {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}})]
    with pytest.raises(TargetUnavailable, match=rf"Vertex AI refuses: 403 .*{message}"):
        target(vertex.address).submit(pipeline, PARAMETERS)


def test_missing_credentials_are_said_with_the_remedy(
    pipeline: CompiledPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(TargetUnavailable, match=r"no Google credentials: run `gcloud auth application-default login`"):
        target("").submit(pipeline, PARAMETERS)


def test_options_are_checked_without_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "from-environment")
    assert Vertex.from_options({}).project == "from-environment"
    with pytest.raises(InvalidSetting, match="pipeline_root must begin with gs://, got 's3://b'"):
        Vertex.from_options({"pipeline_root": "s3://b"})
    with pytest.raises(InvalidSetting, match="failure_policy must be slow or fast, got 'never'"):
        Vertex.from_options({"failure_policy": "never"})
