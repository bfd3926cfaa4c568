"""The doubles keep to what the services publish, and a request with an unknown or wrongly typed field is found."""

import os

import pytest
from tests.pipelines.targets.published import FOLDER_VARIABLE, KfpApi, faults_of_vertex_message, kfp_api_file


@pytest.fixture(scope="module")
def api() -> KfpApi:
    file = kfp_api_file()
    if file is None and FOLDER_VARIABLE not in os.environ:
        pytest.skip(f"KFP's published API is not here: set {FOLDER_VARIABLE} to the folder of its Swagger file")
    assert file is not None, f"{FOLDER_VARIABLE} names a folder without KFP's Swagger file"
    return KfpApi(file)


RUNS = "/apis/v2beta1/runs"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "fault"),
    [
        ("POST", RUNS, {}, b'{"display_name": "a", "runtime_config": {"parameters": {"x": [1]}}}', ""),
        ("GET", f"{RUNS}/1234", {"experiment_id": "e"}, b"", ""),
        ("POST", RUNS, {}, b'{"displayname": "a"}', "'displayname' was unexpected"),
        ("POST", RUNS, {}, b'{"display_name": 1}', "1 is not of type 'string'"),
        ("POST", RUNS, {}, b'{"runtime_config": {"parametres": {}}}', "'parametres' was unexpected"),
        ("POST", RUNS, {"nameapace": "n"}, b"{}", "unknown query field 'nameapace'"),
        ("POST", f"{RUNS}/1234", {}, b"{}", "is not in the API"),
        ("GET", "/apis/v1beta1/runs", {}, b"", "is not in the API"),
    ],
)
def test_what_kfp_does_not_know_is_found(
    api: KfpApi, method: str, path: str, query: dict[str, str], body: bytes, fault: str
) -> None:
    found = list(api.faults_of_request(method, path, query, body))
    assert len(found) == bool(fault)
    assert all(fault in each for each in found)


def test_an_answer_that_kfp_would_not_give_is_found(api: KfpApi) -> None:
    assert not list(api.faults_of_response("GET", f"{RUNS}/1", 200, {"run_id": "1", "state": "RUNNING"}))
    assert list(api.faults_of_response("GET", f"{RUNS}/1", 200, {"run_id": "1", "state": "WORKING"}))
    assert list(api.faults_of_response("GET", f"{RUNS}/1", 200, {"id": "1"}))


def test_what_vertex_does_not_know_is_found() -> None:
    assert not faults_of_vertex_message("PipelineJob", {"displayName": "a", "runtimeConfig": {"parameterValues": {}}})
    assert faults_of_vertex_message("PipelineJob", {"displayNames": "a"})
    assert faults_of_vertex_message("PipelineJob", {"displayName": 1})
    assert faults_of_vertex_message("PipelineJob", {"state": "PIPELINE_STATE_BUSY"})
