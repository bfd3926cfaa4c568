"""Replay the requests in `assets.extra/tf_serving_warmup_requests`, so that a version's first request is not slow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from trainwright_components.model_server.methods.classification import run_classify
from trainwright_components.model_server.methods.inference import run_predict
from trainwright_components.model_server.methods.multi_inference import run_multi_inference
from trainwright_components.model_server.methods.regression import run_regress
from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000
_RUNS: Mapping[str, Callable[[Servable, Any], object]] = {
    "predict_log": run_predict,
    "classify_log": run_classify,
    "regress_log": run_regress,
    "multi_inference_log": run_multi_inference,
}


def replay_warmup(model: Servable, path: Path, *, iterations: int = 1) -> int:
    """Run each record of the model in `path` `iterations` times and return how many there are.

    Raises:
        StatusError: A record cannot be read, is of a kind that is not supported, fails, or there are too many.
    """
    file = path / WARMUP_FILE
    if not file.is_file():
        return 0
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(file)):
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
            log = _parsed(record, file)
            for _ in range(max(1, iterations)):
                _replay(model, log)
    except tf.errors.OpError as error:
        raise StatusError(Code.DATA_LOSS, f"Please verify your warmup data is in TFRecord format: {error}") from error
    return count


def _parsed(record: bytes, file: Path) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record: {record[:100]!r} from {file}") from error


def _replay(model: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind not in _RUNS:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    _RUNS[kind](model, getattr(log, kind).request)
