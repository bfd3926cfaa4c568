"""A servable whose computations are timed for the metrics."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.request_context import current_request
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors

_RUNTIME = "TF1"  # what TensorFlow Serving calls the session


class TimedServable:
    """Adds the time of each computation that succeeds to `runtime_latency`."""

    def __init__(self, servable: Servable, model: str, metrics: ServingMetrics) -> None:
        self._servable = servable
        self._model = model
        self._latency = metrics.runtime_latency

    @property
    def signatures(self) -> Mapping[str, Any]:
        """See `Servable.signatures`."""
        return self._servable.signatures

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """See `Servable.run`."""
        started = time.perf_counter()
        computed = self._servable.run(signature_name, inputs, outputs)
        self._count_since(started)
        return computed

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`."""
        started = time.perf_counter()
        computed = self._servable.run_together(inputs, outputs)
        self._count_since(started)
        return computed

    def is_quick(self, signature_name: str) -> bool:
        """See `Servable.is_quick`."""
        return self._servable.is_quick(signature_name)

    def close(self) -> None:
        """See `Servable.close`."""
        self._servable.close()

    def _count_since(self, started: float) -> None:
        microseconds = (time.perf_counter() - started) * 1e6
        self._latency.add(self._model, current_request().api, _RUNTIME, value=microseconds)


if TYPE_CHECKING:
    _: type[Servable] = TimedServable
