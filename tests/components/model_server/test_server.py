"""Whole server processes: several models, swaps under load, broken versions, configuration, the end."""

import http.client
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.operation.process import server_command, server_environment

Eventually = Callable[..., None]


def config_text(*models: tuple[str, Path, str]) -> str:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}\n'
        for name, base, more in models
    )
    return f"model_config_list {{\n{entries}}}\n"


def put_version(base: Path, version: int, model: Path) -> None:
    shutil.copytree(model, base / f".tmp-{version}")
    (base / f".tmp-{version}").rename(base / str(version))


def predict_request(model: str, values: list[float]) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
    return request


class Models:
    """A server of two models whose config file is polled."""

    def __init__(self, folder: Path, half: Path, triple: Path) -> None:
        self.half, self.triple = folder / "half", folder / "triple"
        self.config = folder / "models.config"
        self.versions = {self.half: {1: half, 2: triple}, self.triple: {5: triple, 6: half}}
        for base, versions in self.versions.items():
            base.mkdir()
            for version, model in versions.items():
                put_version(base, version, model)
        self.entries = [
            ("half", self.half, "model_version_policy { all {} } version_labels { key: 'old' value: 1 }"),
            ("triple", self.triple, "model_version_policy { specific { versions: 5 } }"),
        ]
        self.write(*self.entries)

    def write(self, *entries: tuple[str, Path, str]) -> None:
        beside = self.config.with_suffix(".new")
        beside.write_text(config_text(*entries))
        beside.rename(self.config)

    def reset(self) -> Any:
        """Make files and folders what they were at first, and return the ReloadConfigRequest that says the same."""
        for base, versions in self.versions.items():
            for child in base.iterdir():
                if child.name not in map(str, versions):
                    shutil.rmtree(child)
        self.write(*self.entries)
        config = text_format.Parse(config_text(*self.entries), model_server_config_pb2.ModelServerConfig())
        return model_management_pb2.ReloadConfigRequest(config=config)


@pytest.fixture(scope="module")
def all_models(tmp_path_factory: pytest.TempPathFactory, half: Path, triple: Path) -> Models:
    return Models(tmp_path_factory.mktemp("models"), half, triple)


@pytest.fixture
def models(several: Any, all_models: Models, eventually: Eventually) -> Iterator[Models]:
    """The models that `several` serves; whatever a test does to them is undone after it, however it ends."""
    yield all_models
    several.models.HandleReloadConfigRequest(all_models.reset(), timeout=60)

    def available() -> dict[str, set[str]]:
        models = several.json("/models")["models"]
        return {m["name"]: {v["version"] for v in m["versions"] if v["state"] == "AVAILABLE"} for m in models}

    eventually(lambda: available() == {"half": {"1", "2"}, "triple": {"5"}})


@pytest.fixture(scope="module")
def several(start_server: Callable[..., Any], all_models: Models) -> Any:
    return start_server(
        model_config_file=all_models.config,
        model_config_file_poll_wait_seconds=0.1,
        file_system_poll_wait_seconds=0.1,
        max_num_load_retries=0,
        allow_version_labels_for_unavailable_models=True,
    )


def test_several_models_are_served_by_their_policies(several: Any, eventually: Eventually) -> None:
    # The ports open when the newest version of each model answers; the others may take longer.
    eventually(lambda: several.call("/v1/models/half/versions/1:predict", {"instances": [2]})[0] == 200)

    def ask(path: str) -> Any:
        return several.json(f"/v1/models/{path}:predict", {"instances": [2]})["predictions"]

    assert ask("half") == ask("half/versions/2") == [8.0]
    assert ask("half/versions/1") == ask("half/labels/old") == [3.0]
    assert ask("triple") == ask("triple/versions/5") == [8.0]
    assert several.error("/v1/models/triple/versions/6:predict", {"instances": [2]})[0] == 404
    request = predict_request("half", [2.0])
    request.model_spec.version_label = "old"
    assert several.prediction.Predict(request, timeout=20).model_spec.version.value == 1


def test_the_config_file_is_followed(
    several: Any, models: Models, tmp_path: Path, half: Path, eventually: Eventually
) -> None:
    put_version(tmp_path, 1, half)
    models.write(*models.entries, ("third", tmp_path, ""))
    eventually(lambda: several.call("/v1/models/third:predict", {"instances": [2]})[0] == 200)
    labelled = ("third", tmp_path, "version_labels { key: 'next' value: 2 }")
    models.write(*models.entries, labelled)
    eventually(lambda: several.call("/v1/models/third/labels/next:predict", {"instances": [2]})[0] == 404)
    models.config.write_text("model_config_list { config { name: ")
    eventually(lambda: "cannot use" in several.log.read_text())
    assert several.call("/v1/models/third:predict", {"instances": [2]})[0] == 200
    models.write(*models.entries)
    eventually(lambda: several.call("/v1/models/third:predict", {"instances": [2]})[0] == 404)


def test_a_reload_answers_when_its_models_do(several: Any, models: Models, tmp_path: Path, half: Path) -> None:
    put_version(tmp_path, 1, half)
    request = model_management_pb2.ReloadConfigRequest()
    for name, base in (("half", models.half), ("reloaded", tmp_path)):
        request.config.model_config_list.config.add(name=name, base_path=str(base), model_platform="tensorflow")
    loads = "/tensorflow/cc/saved_model/load_attempt_count"
    request.metric_names.extend([loads, "/no/such/metric"])
    answer = several.models.HandleReloadConfigRequest(request, timeout=60)
    assert answer.status.error_code == 0
    assert [(metric.name, metric.int64_value_increase) for metric in answer.metric] == [(loads, 1)]
    assert several.json("/v1/models/reloaded:predict", {"instances": [2]}) == {"predictions": [3.0]}
    request.config.model_config_list.config.add(name="half", base_path="relative", model_platform="tensorflow")
    with pytest.raises(grpc.RpcError) as refused:
        several.models.HandleReloadConfigRequest(request, timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_version_that_is_copied_piece_by_piece_answers_when_it_is_whole(
    several: Any, models: Models, half: Path, eventually: Eventually
) -> None:
    copy = models.half / "20"
    copy.mkdir()

    def state() -> Any:
        answer = json.loads(several.call("/v1/models/half/versions/20")[1])
        return answer.get("model_version_status", [{}])[0].get("state")

    eventually(lambda: state() == "END")
    (copy / "saved_model.pb").write_bytes((half / "saved_model.pb").read_bytes()[:1000])
    assert several.json("/v1/models/half:predict", {"instances": [2]})["predictions"] == [8.0]
    shutil.copytree(half, copy, dirs_exist_ok=True)
    eventually(lambda: several.json("/v1/models/half:predict", {"instances": [2]})["predictions"] == [3.0])
    assert state() == "AVAILABLE"
    shutil.rmtree(copy)
    eventually(lambda: several.json("/v1/models/half:predict", {"instances": [2]})["predictions"] == [8.0])


def test_a_broken_version_leaves_the_one_before_it_serving(
    several: Any, models: Models, eventually: Eventually
) -> None:
    (models.half / "30").mkdir()
    (models.half / "30" / "saved_model.pb").write_bytes(b"no such model")

    def states() -> dict[str, str]:
        entries = several.json("/v1/models/half")["model_version_status"]
        return {entry["version"]: entry["state"] for entry in entries}

    eventually(lambda: states().get("30") == "END")
    error = several.json("/v1/models/half/versions/30")["model_version_status"][0]["status"]
    assert error["error_code"] != "OK"
    assert error["error_message"]
    assert several.json("/v1/models/half:predict", {"instances": [2]}) == {"predictions": [8.0]}


@pytest.mark.parametrize("swaps", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_versions_are_swapped_under_load_without_a_failed_request(
    swaps: int, several: Any, models: Models, tmp_path: Path, half: Path, triple: Path, eventually: Eventually
) -> None:
    put_version(tmp_path, 1, half)
    models.write(*models.entries, ("swapped", tmp_path, ""))
    eventually(lambda: several.call("/v1/models/swapped:predict", {"instances": [2]})[0] == 200)
    is_over = threading.Event()
    answers: list[float] = []
    failures: list[object] = []

    def ask_rest() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", several.rest_port, timeout=30)
        while not is_over.is_set():
            connection.request("POST", "/v1/models/swapped:predict", '{"instances": [2]}')
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                answers.append(json.loads(text)["predictions"][0])
            else:
                failures.append(text)
        connection.close()

    def ask_grpc() -> None:
        while not is_over.is_set():
            try:
                answer = several.prediction.Predict(predict_request("swapped", [2.0]), timeout=30)
                answers.append(answer.outputs["y"].float_val[0])
            except grpc.RpcError as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for ask in (ask_rest, ask_rest, ask_grpc)]
    for asker in askers:
        asker.start()
    try:
        for version in range(2, 2 + swaps):
            put_version(tmp_path, version, triple if version % 2 == 0 else half)
            expected = 8.0 if version % 2 == 0 else 3.0
            eventually(lambda expected=expected: answers and answers[-1] == expected)
    finally:
        is_over.set()
        for asker in askers:
            asker.join()
    assert not failures
    assert set(answers) == {3.0, 8.0}


def write_warmup(version: Path, *requests: Any) -> None:
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def test_warmup_records_are_replayed_and_must_succeed(
    several: Any, models: Models, tmp_path: Path, half: Path, eventually: Eventually
) -> None:
    good, bad = predict_request("any", [1.0]), predict_request("any", [1.0])
    bad.inputs["q"].CopyFrom(tf.make_tensor_proto(1.0))
    for name, requests in (("good", (good, good)), ("bad", (bad,))):
        shutil.copytree(half, tmp_path / name / "1")
        write_warmup(tmp_path / name / "1", *requests)
    models.write(*models.entries, ("good", tmp_path / "good", ""), ("bad", tmp_path / "bad", ""))
    eventually(lambda: several.call("/v1/models/good:predict", {"instances": [2]})[0] == 200)
    assert f"replayed 2 warm-up records of {tmp_path / 'good' / '1'}" in several.log.read_text()
    eventually(lambda: '"END"' in several.call("/v1/models/bad")[1])
    assert "input size does not match signature" in several.call("/v1/models/bad")[1]


def test_requests_under_way_are_answered_before_the_end(start_server: Callable[..., Any], base_path: Path) -> None:
    server = start_server(model_name="linear", model_base_path=base_path)
    slow = {"signature_name": "slow", "inputs": [2.0]}
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    connection.request("POST", "/v1/models/linear:predict", json.dumps(slow))
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "linear", "slow"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto([2.0], tf.float64))
    over_grpc = server.prediction.Predict.future(request, timeout=30)
    server.json("/v1/models/linear:predict", {"instances": [1]})
    server.prediction.Predict(predict_request("linear", [1.0]), timeout=30)
    server.process.send_signal(signal.SIGTERM)
    assert connection.getresponse().status == 200
    assert over_grpc.result().outputs["turns"].int_val[0] > 0
    connection.close()
    assert server.process.wait(30) == 0


def test_a_model_that_cannot_be_loaded_ends_the_start_as_in_tensorflow_serving(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    flags = {"port": 1, "model_base_path": tmp_path, "max_num_load_retries": 0}
    done = subprocess.run(server_command(flags), capture_output=True, env=server_environment(), timeout=120)
    assert done.returncode == 255
    assert b"Failed to start server. Error: UNKNOWN: 1 model(s) did not become available: {" in done.stderr
    assert b"due to error: NOT_FOUND: Could not find SavedModel" in done.stderr
