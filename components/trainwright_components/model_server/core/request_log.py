"""Requests and answers of chosen models, written down as TFRecords of PredictionLog.

Each file holds at most as many records as a warm-up file may, so that it can be put beside a model as one.
"""

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from trainwright_components.model_server.models.warmup import MAX_RECORDS
from trainwright_components.model_server.status import Code, invalid_argument

logger = logging.getLogger(__name__)

_WAITING_RECORDS = 1000
_KINDS = {
    "PredictRequest": "predict_log",
    "ClassificationRequest": "classify_log",
    "RegressionRequest": "regress_log",
    "MultiInferenceRequest": "multi_inference_log",
}


def check_logging_config(config: Any) -> None:
    """Refuse a LoggingConfig that cannot be followed.

    Raises:
        StatusError: No place to write to, a kind of log that is not supported, or a rate that is none.
    """
    collector, rate = config.log_collector_config, config.sampling_config.sampling_rate
    if collector.type not in {"", "tfrecord"}:
        raise invalid_argument(f"log_collector_config type must be tfrecord, got {collector.type!r}")
    if not Path(collector.filename_prefix).is_absolute():
        raise invalid_argument(
            f"log_collector_config filename_prefix must be an absolute path, got {collector.filename_prefix!r}"
        )
    if not 0 <= rate <= 1:
        raise invalid_argument(f"sampling_rate must be between 0 and 1, got {rate}")


class RequestLog:
    """Writes down the requests of the models whose configuration asks for it; a thread of its own does the writing.

    Args:
        count: Told the model's name and "OK", or why a record is lost.
    """

    def __init__(self, count: Callable[[str, str], None] = lambda _model, _status: None) -> None:
        self._count = count
        self._configs: Mapping[str, Any] = {}
        self._waiting: queue.Queue[tuple[str, Path, Any] | None] = queue.Queue(_WAITING_RECORDS)
        self._files: dict[Path, _RecordFile] = {}
        self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._thread.start()

    def set_configs(self, configs: Mapping[str, Any]) -> None:
        """Follow `configs`, LoggingConfig by model, from now on."""
        self._configs = dict(configs)

    def wants(self, model: str) -> bool:
        """Whether the next request of `model` is one to write down."""
        config = self._configs.get(model)
        return config is not None and random.random() < config.sampling_config.sampling_rate  # noqa: S311  # a sample

    def add(self, model: str, request: Any, response: Any) -> None:
        """Write down a request and its answer; where writing falls behind, the record is lost and counted as lost."""
        config = self._configs.get(model)
        if config is None:
            return
        log = prediction_log_pb2.PredictionLog()
        log.log_metadata.model_spec.name = model
        log.log_metadata.sampling_config.CopyFrom(config.sampling_config)
        log.log_metadata.timestamp_secs = int(time.time())
        entry = getattr(log, _KINDS[type(request).__name__])
        entry.request.CopyFrom(request)
        entry.response.CopyFrom(response)
        try:
            self._waiting.put_nowait((model, Path(config.log_collector_config.filename_prefix), log))
        except queue.Full:
            self._count(model, Code.RESOURCE_EXHAUSTED.name)

    def close(self) -> None:
        """Write what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (item := self._waiting.get()) is not None:
            model, prefix, log = item
            try:
                self._files.setdefault(prefix, _RecordFile(prefix)).write(log.SerializeToString())
            except (OSError, tf.errors.OpError) as error:
                logger.error("cannot write a request of %s to %s: %s", model, prefix, error)
                self._count(model, Code.UNKNOWN.name)
            else:
                self._count(model, Code.OK.name)
        for file in self._files.values():
            file.close()


class _RecordFile:
    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._number = 0
        self._records = 0
        self._writer: Any = None

    def write(self, record: bytes) -> None:
        if self._writer is None or self._records == MAX_RECORDS:
            self.close()
            self._open()
        self._writer.write(record)
        self._writer.flush()
        self._records += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> None:
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = self._prefix.with_name(f"{self._prefix.name}-{self._number:05d}.tfrecord")
            self._number += 1
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            self._writer = tf.io.TFRecordWriter(str(path))
            self._records = 0
            return
