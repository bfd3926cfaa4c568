"""A servable whose computations are timed for the metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        with self._timing():
            return self._servable.run(signature_name, inputs, outputs)

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`."""
        with self._timing():
            return self._servable.run_together(inputs, outputs)

    def is_quick(self, signature_name: str) -> bool:
        """See `Servable.is_quick`."""
        return self._servable.is_quick(signature_name)

    def close(self) -> None:
        """See `Servable.close`."""
        self._servable.close()

    @contextmanager
    def _timing(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        microseconds = (time.perf_counter() - started) * 1e6
        self._latency.add(self._model, current_request().api, _RUNTIME, value=microseconds)


if TYPE_CHECKING:
    _: type[Servable] = TimedServable
