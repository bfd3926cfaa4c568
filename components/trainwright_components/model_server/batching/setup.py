"""Batching as the command line asks for it: shared threads, and parameters for all models or for each."""

from functools import partial
from pathlib import Path

from trainwright_components.model_server.batching.parameters import FILE_NAME, BatchingParameters, parameters_of
from trainwright_components.model_server.batching.scheduler import BatchScheduler
from trainwright_components.model_server.batching.servable import BatchedServable
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.text_protos import BatchingParametersProto, read_text_proto

_DEFAULT_POOL_NAME = "model_server_batch_threads"


class Batching:
    """Puts batching around servables.

    Args:
        parameters_file: Text proto BatchingParameters; none for TensorFlow Serving's defaults.
        is_per_model: A version's own parameters go before those of the file.

    Raises:
        StatusError: The file cannot be used.
    """

    def __init__(self, parameters_file: Path | None, *, is_per_model: bool, metrics: ServingMetrics) -> None:
        self._parameters = (
            parameters_of(read_text_proto(parameters_file, BatchingParametersProto()))
            if parameters_file
            else BatchingParameters(thread_pool_name=_DEFAULT_POOL_NAME)
        )
        self._is_per_model = is_per_model
        self._latency = metrics.queuing_latency
        self._scheduler = BatchScheduler(threads=self._parameters.num_batch_threads)

    def around(self, servable: Servable, path: Path) -> Servable:
        """The servable of the version in `path`, with batching.

        Raises:
            StatusError: The version's own parameters cannot be used.
        """
        parameters = self._parameters
        own = path / FILE_NAME
        if self._is_per_model and own.is_file():
            parameters = parameters_of(read_text_proto(own, BatchingParametersProto()))
        return BatchedServable(
            servable, self._scheduler, parameters, on_queued=partial(self._record, parameters.thread_pool_name)
        )

    def close(self) -> None:
        """End the threads, once no servable uses them."""
        self._scheduler.close()

    def _record(self, thread_pool_name: str, seconds: float) -> None:
        self._latency.add(thread_pool_name, value=seconds * 1e6)
