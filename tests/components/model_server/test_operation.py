"""What operators use: metrics, health, lists of models, keys, TLS, batching and TFLite by flags, on real servers."""

import http.client
import json
import shutil
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from trainwright_components.model_server.api_key import read_api_key
from trainwright_components.model_server.rest.tls import read_ssl_context
from trainwright_components.model_server.status import StatusError

KEY = "a key of words"


@pytest.fixture(scope="module")
def operated(start_server: Callable[..., Any], half: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with metrics and batching, of a TFLite model and a model that is not there."""
    folder = tmp_path_factory.mktemp("operated")
    shutil.copytree(half, folder / "linear" / "1")
    (folder / "linear" / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4 thread_pool_name { value: 'own' }"
    )
    (folder / "lite" / "1").mkdir(parents=True)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(half), signature_keys=["serving_default"])
    (folder / "lite" / "1" / "model.tflite").write_bytes(converter.convert())
    (folder / "empty").mkdir()
    entries = (
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}'
        for name in ("linear", "lite", "empty")
    )
    (folder / "models.config").write_text("model_config_list {" + " ".join(entries) + "}")
    (folder / "monitoring.config").write_text('prometheus_config { enable: true path: "/metrics" }')
    (folder / "batching.config").write_text("max_batch_size { value: 64 } num_batch_threads { value: 2 }")
    return start_server(
        model_config_file=folder / "models.config",
        monitoring_config_file=folder / "monitoring.config",
        enable_batching=True,
        batching_parameters_file=folder / "batching.config",
        enable_per_model_batching_parameters=True,
        prefer_tflite_model=True,
        require_models=False,
    )


def test_requests_are_answered_through_batches(operated: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(operated.json, "/v1/models/linear:predict", {"instances": [x]}) for x in range(24)]
        answers = [future.result()["predictions"][0] for future in asked]
    assert answers == [0.5 * x + 2 for x in range(24)]
    assert operated.error("/v1/models/linear:predict", {"instances": [1, 2, 3, 4, 5]}) == (
        400,
        "Task size 5 is larger than maximum input batch size 4",
    )


def test_the_log_names_the_signature_that_cannot_be_batched(operated: Any) -> None:
    assert "requests of signature 'scalars' are computed one by one" in operated.log.read_text()
    asked = {"signature_name": "scalars", "inputs": [1, 3]}
    assert operated.json("/v1/models/linear:predict", asked)["outputs"]["mean"] == 2.0


def test_a_tflite_model_is_served(operated: Any) -> None:
    assert operated.json("/v1/models/lite:predict", {"instances": [2, 4]}) == {"predictions": [3.0, 4.0]}
    metadata = operated.json("/v1/models/lite/metadata")["metadata"]["signature_def"]["signature_def"]
    assert list(metadata["serving_default"]["inputs"]) == ["serving_default_x:0"]


def test_metrics_are_read_where_the_configuration_says(operated: Any) -> None:
    operated.json("/v1/models/linear:predict", {"instances": [1]})
    status, text = operated.call("/metrics")
    assert status == 200
    assert ':tensorflow:serving:request_count{model_name="linear",status="OK"} ' in text
    assert ':tensorflow:serving:request_latency_count{model_name="linear",API="Predict",entrypoint="REST"} ' in text
    assert ':tensorflow:serving:runtime_latency_count{model_name="linear",API="Predict",runtime="TF1"} ' in text
    assert ':tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="own"} ' in text
    assert ":tensorflow:cc:saved_model:load_attempt_count{" in text
    assert operated.call("/metrics?a=b") == (400, "Unexpected path: /metrics?a=b. Should be /metrics")
    assert operated.call("/monitoring/prometheus/metrics")[0] == 404


def test_readiness_names_the_models_that_do_not_answer(operated: Any) -> None:
    status, text = operated.call("/readyz")
    assert status == 503
    assert json.loads(text)["unavailable_models"] == ["empty"]
    assert operated.call("/healthz")[0] == 200


def test_models_are_listed_without_taking_a_path_of_tensorflow_serving(operated: Any) -> None:
    models = {model["name"]: model for model in operated.json("/models")["models"]}
    assert {name: model["is_available"] for name, model in models.items()} == {
        "linear": True,
        "lite": True,
        "empty": False,
    }
    assert models["linear"]["versions"][0]["state"] == "AVAILABLE"
    assert operated.error("/v1/models") == (400, "Missing model name in request.")


def test_a_server_whose_models_answer_is_ready(server: Any) -> None:
    assert server.json("/readyz") == {"status": "ready"}
    assert server.call("/monitoring/prometheus/metrics")[0] == 404


def tls_config(identity: Any, *, client_verify: bool = False) -> str:
    """The text of an SSLConfig."""
    key, certificate = json.dumps(identity.key.decode()), json.dumps(identity.certificate.decode())
    return f"server_key: {key} server_cert: {certificate} client_verify: {str(client_verify).lower()}"


@pytest.fixture(scope="module")
def guarded(
    start_server: Callable[..., Any],
    base_path: Path,
    make_identity: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A server with a key, and with TLS on REST; its certificate."""
    folder = tmp_path_factory.mktemp("guarded")
    identity = make_identity("server")
    (folder / "tls.config").write_text(tls_config(identity))
    (folder / "key").write_text(KEY + "\n")
    server = start_server(
        model_name="linear",
        model_base_path=base_path,
        rest_api_ssl_config_file=folder / "tls.config",
        api_key_file=folder / "key",
    )
    return server, identity.certificate.decode()


def ask_over_tls(guarded: Any, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, Any]:
    server, certificate = guarded
    context = ssl.create_default_context(cadata=certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", server.rest_port, timeout=30, context=context)
    connection.request("POST" if body else "GET", path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_a_request_with_the_key_is_answered_over_tls(guarded: Any, headers: dict[str, str]) -> None:
    asked = b'{"instances": [2]}'
    assert ask_over_tls(guarded, "/v1/models/linear:predict", headers, asked) == (200, {"predictions": [3.0]})


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "another"}, {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer "}]
)
def test_a_request_without_the_key_is_refused_and_told_how(guarded: Any, headers: dict[str, str]) -> None:
    for path in ("/v1/models/linear", "/models"):
        status, answer = ask_over_tls(guarded, path, headers)
        assert status == 401
        assert "send Authorization: Bearer KEY" in answer["error"]


def test_probes_need_no_key_and_the_log_never_holds_it(guarded: Any) -> None:
    assert ask_over_tls(guarded, "/healthz", {})[0] == 200
    assert ask_over_tls(guarded, "/readyz", {})[0] == 200
    assert KEY not in guarded[0].log.read_text()


def test_grpc_needs_the_key_too(guarded: Any) -> None:
    server, _ = guarded
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "linear"
    with pytest.raises(grpc.RpcError) as refused:
        server.models.GetModelStatus(request, timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert server.models.GetModelStatus(request, timeout=30, metadata=[("x-api-key", KEY)]).model_version_status
    wanted = predict_pb2.PredictRequest()
    wanted.model_spec.name = "linear"
    wanted.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    metadata = [("authorization", f"Bearer {KEY}")]
    assert server.prediction.Predict(wanted, timeout=30, metadata=metadata).outputs["y"].float_val == [3.0]


def test_the_key_comes_from_flag_file_or_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of file\n")
    environment = {"TRAINWRIGHT_API_KEY": "of environment"}

    def accepts(key: Any, text: bytes) -> bool:
        return bool(key.is_in([(b"x-api-key", text)]))

    assert accepts(read_api_key("of flag", str(tmp_path / "key"), environment), b"of flag")
    assert accepts(read_api_key("", str(tmp_path / "key"), environment), b"of file")
    key = read_api_key("", "", environment)
    assert accepts(key, b"of environment")
    assert "environment" not in repr(key)
    assert read_api_key("", "", {}) is None
    for bad in ("tab\t", "ünprintable"):
        with pytest.raises(StatusError, match="must be printable ASCII") as refused:
            read_api_key(bad, "", {})
        assert bad not in str(refused.value)
    with pytest.raises(StatusError, match="cannot read the API key"):
        read_api_key("", str(tmp_path / "none"), {})


def test_a_tls_configuration_that_cannot_work_is_refused(tmp_path: Path, make_identity: Callable[[str], Any]) -> None:
    file = tmp_path / "tls.config"
    file.write_text('server_key: "no key" server_cert: "no certificate"')
    with pytest.raises(StatusError, match="cannot be used"):
        read_ssl_context(file)
    file.write_text(tls_config(make_identity("server"), client_verify=True))
    with pytest.raises(StatusError, match="client_verify needs custom_ca"):
        read_ssl_context(file)
