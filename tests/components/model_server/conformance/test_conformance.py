"""Every case of the tables `rest.yaml` and `grpc.yaml`, put to a server by plain HTTP and by the published stubs.

Answers in JSON are compared token by token, so that 3.0 is not 3 and white space counts for nothing.
"""

import base64
import gzip
import http.client
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf import json_format, text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
    status_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

HERE = Path(__file__).parent
REST_CASES: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "rest.yaml").read_text())
GRPC_CASES: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "grpc.yaml").read_text())
PREDICTION = prediction_service_pb2_grpc.PredictionServiceStub
MODELS = model_service_pb2_grpc.ModelServiceStub
METHODS: dict[str, tuple[Any, Any, Any]] = {
    "Predict": (PREDICTION, predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (PREDICTION, classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
    "Regress": (PREDICTION, regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
    "MultiInference": (PREDICTION, inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    "GetModelMetadata": (
        PREDICTION,
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (
        MODELS,
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        MODELS,
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
    ),
}


def tokens(text: str) -> Any:
    """A JSON document with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def body_of(case: dict[str, Any]) -> bytes | None:
    if "body_b64" in case:
        return base64.b64decode(case["body_b64"])
    if "body" not in case:
        return None
    body = case["body"].encode()
    return gzip.compress(body) if "gzip" in case.get("headers", {}).get("Content-Encoding", "") else body


@pytest.mark.parametrize("name", REST_CASES)
def test_rest(suite_server: Any, name: str) -> None:
    case = REST_CASES[name]
    body = body_of(case)
    method = case.get("method", "GET" if body is None else "POST")
    connection = http.client.HTTPConnection("127.0.0.1", suite_server.rest_port, timeout=60)
    try:
        connection.request(method, case["path"], body, case.get("headers", {}))
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    assert response.status == case.get("status", 400 if "error" in case or "error_has" in case else 200), text
    for header, value in case.get("answer_headers", {}).items():
        assert response.headers[header] == value
    if "answer" in case:
        assert tokens(text) == tokens(case["answer"])
    if "error" in case:
        assert json.loads(text) == {"error": case["error"]}
    if "error_has" in case:
        assert case["error_has"] in json.loads(text)["error"]


@pytest.mark.parametrize("name", GRPC_CASES)
def test_grpc(suite_server: Any, name: str) -> None:
    case = GRPC_CASES[name]
    stub, request_class, answer_class = METHODS[case["method"]]
    request = text_format.Parse(case["request"], request_class())
    call = getattr(stub(suite_server.channel), case["method"])
    if "answer" in case:
        assert call(request, timeout=60) == text_format.Parse(case["answer"], answer_class())
        return
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=60)
    assert refused.value.code().name == case.get("code", "INVALID_ARGUMENT")
    if "error" in case:
        assert refused.value.details() == case["error"]
    else:
        assert case["error_has"] in refused.value.details()


def test_metadata_is_the_signatures_of_the_saved_model(suite_server: Any, suite_config: Path) -> None:
    content = (suite_config.parent / "suite" / "123" / "saved_model.pb").read_bytes()
    expected = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "suite"
    answer = PREDICTION(suite_server.channel).GetModelMetadata(request, timeout=60)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("suite", 123)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert dict(found.signature_def) == dict(expected)
    connection = http.client.HTTPConnection("127.0.0.1", suite_server.rest_port, timeout=60)
    connection.request("GET", "/v1/models/suite/metadata")
    document = json.load(connection.getresponse())
    connection.close()
    assert document["model_spec"] == {"name": "suite", "signature_name": "", "version": "123"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert json_format.ParseDict({"signature_def": signatures}, get_model_metadata_pb2.SignatureDefMap()) == found
    assert signatures["float32"]["defaults"] == {}
    assert signatures["matrix"]["inputs"]["m"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}] * 3,
        "unknown_rank": False,
    }


def test_a_reload_brings_a_model_and_takes_it_away(
    suite_server: Any, suite_config: Path, eventually: Callable[..., None]
) -> None:
    models = MODELS(suite_server.channel)
    config = text_format.Parse(suite_config.read_text(), model_server_config_pb2.ModelServerConfig())
    request = model_management_pb2.ReloadConfigRequest(config=config)
    request.config.model_config_list.config.add(
        name="again", base_path=str(suite_config.parent / "half_plus_two"), model_platform="tensorflow"
    )
    assert models.HandleReloadConfigRequest(request, timeout=60) == model_management_pb2.ReloadConfigResponse(
        status=status_pb2.StatusProto()
    )
    question = predict_pb2.PredictRequest()
    question.model_spec.name = "again"
    text_format.Parse("dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 4", question.inputs["x"])
    predict = PREDICTION(suite_server.channel).Predict
    assert list(predict(question, timeout=60).outputs["y"].float_val) == [4.0]
    request.config.CopyFrom(config)
    models.HandleReloadConfigRequest(request, timeout=60)
    refusals: list[str] = []

    def is_refused() -> bool:  # a reload waits for what comes, not for what goes
        try:
            predict(question, timeout=60)
        except grpc.RpcError as error:
            refusals.append(error.details())
        return bool(refusals)

    eventually(is_refused)
    assert refusals == ["Servable not found for request: Latest(again)"]


def test_every_method_has_cases_that_succeed_and_cases_that_fail() -> None:
    succeeding = Counter(case["method"] for case in GRPC_CASES.values() if "answer" in case)
    failing = Counter(case["method"] for case in GRPC_CASES.values() if "answer" not in case)
    assert set(succeeding) | {"GetModelMetadata", "HandleReloadConfigRequest"} == set(METHODS)
    assert set(failing) == set(METHODS)
