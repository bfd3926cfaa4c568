"""Requests written down: how many, in which form, and that the files serve as warm-up."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.core import request_log as request_log_module
from trainwright_components.model_server.core.predictor import Predictor
from trainwright_components.model_server.core.request_log import RequestLog
from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.manager.manager import Manager
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.models.loader import SavedModelLoader
from trainwright_components.model_server.models.warmup import WARMUP_FILE, replay_warmup
from trainwright_components.model_server.rest.api import RestApi
from trainwright_components.model_server.servable import ServableId
from trainwright_components.model_server.status import StatusError


def make_config(base: Path, prefix: Path | str, *, rate: float = 1.0, kind: str = "tfrecord") -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    entry = config.model_config_list.config.add(name="linear", base_path=str(base), model_platform="tensorflow")
    entry.logging_config.log_collector_config.type = kind
    entry.logging_config.log_collector_config.filename_prefix = str(prefix)
    entry.logging_config.sampling_config.sampling_rate = rate
    return config


def read_logs(folder: Path) -> list[Any]:
    files = sorted(map(str, folder.glob("*.tfrecord")))
    return [prediction_log_pb2.PredictionLog.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(files)]


def make_request(values: list[float]) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "linear"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(values, tf.float32))
    return request


def serve(config: Any, metrics: ServingMetrics, use: Callable[[Predictor], object]) -> None:
    loader = SavedModelLoader(is_warmup_made_up=False, metrics=metrics)
    core = ServerCore(
        Manager(loader, max_load_retries=0), poll_wait_s=0, request_log=RequestLog(metrics.request_log_count.add)
    )
    try:
        core.reload(config)
        use(Predictor(core))
    finally:
        core.close()


def test_requests_of_both_apis_are_written_down_and_serve_as_warmup(base_path: Path, tmp_path: Path) -> None:
    metrics = ServingMetrics()

    def ask(predictor: Predictor) -> None:
        predictor.predict(make_request([2.0]))
        RestApi(predictor).answer("POST", "/v1/models/linear:predict", b'{"instances": [4]}')

    serve(make_config(base_path, tmp_path / "logs" / "linear"), metrics, ask)
    logs = read_logs(tmp_path / "logs")
    assert [tf.make_ndarray(log.predict_log.request.inputs["x"]).tolist() for log in logs] == [[2.0], [4.0]]
    assert [tf.make_ndarray(log.predict_log.response.outputs["y"]).tolist() for log in logs] == [[3.0], [4.0]]
    assert logs[0].log_metadata.model_spec.name == "linear"
    assert logs[0].log_metadata.sampling_config.sampling_rate == 1.0
    assert metrics.request_log_count.lines()[1].endswith('{model_name="linear",status="OK"} 2')

    version = shutil.copytree(base_path / "00000123", tmp_path / "1")
    (version / WARMUP_FILE).parent.mkdir()
    shutil.copy(tmp_path / "logs" / "linear-00000.tfrecord", version / WARMUP_FILE)
    model = SavedModelLoader().load(ServableId("linear", 1), version)
    assert replay_warmup(model, version) == 2
    model.close()


def test_files_are_never_longer_than_a_warmup_may_be_and_never_overwritten(
    base_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log_module, "MAX_RECORDS", 2)
    config = make_config(base_path, tmp_path / "logs" / "linear")

    def ask(predictor: Predictor) -> None:
        for value in range(3):
            predictor.predict(make_request([float(value)]))

    for _ in range(2):
        serve(config, ServingMetrics(), ask)
    assert len(list((tmp_path / "logs").glob("linear-*.tfrecord"))) == 4
    assert len(read_logs(tmp_path / "logs")) == 6


def test_a_rate_of_none_writes_nothing(base_path: Path, tmp_path: Path) -> None:
    config = make_config(base_path, tmp_path / "logs" / "linear", rate=0.0)
    serve(config, ServingMetrics(), lambda predictor: [predictor.predict(make_request([1.0])) for _ in range(20)])
    assert not (tmp_path / "logs").exists()


def test_a_place_that_cannot_be_written_costs_no_answer(base_path: Path, tmp_path: Path) -> None:
    metrics = ServingMetrics()
    (tmp_path / "file").write_text("in the way")
    config = make_config(base_path, tmp_path / "file" / "linear")
    serve(config, metrics, lambda predictor: predictor.predict(make_request([1.0])))
    assert metrics.request_log_count.lines()[1].endswith('{model_name="linear",status="UNKNOWN"} 1')


@pytest.mark.parametrize(
    ("prefix", "rate", "kind", "message"),
    [
        ("relative", 1.0, "tfrecord", "must be an absolute path"),
        ("/logs", 1.5, "tfrecord", "between 0 and 1"),
        ("/logs", 1.0, "kafka", "must be tfrecord"),
    ],
)
def test_what_cannot_be_followed_is_refused(base_path: Path, prefix: str, rate: float, kind: str, message: str) -> None:
    with pytest.raises(StatusError, match=message):
        serve(make_config(base_path, prefix, rate=rate, kind=kind), ServingMetrics(), lambda _: None)
