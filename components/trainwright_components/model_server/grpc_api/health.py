"""`grpc.health.v1.Health`, telling the truth: serving while each configured model has a version that answers."""

import threading
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from trainwright_components.model_server.core.server_core import ServerCore

# The first three are TensorFlow Serving's; probes of other tools ask for full names.
SERVICES = (
    "",
    "ModelService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
)
_CHECK_S = 1.0


class Health:
    """Adds the service to `server` and keeps it true in a thread of its own until closed."""

    def __init__(self, core: ServerCore, server: Any) -> None:
        self._core = core
        self._servicer = health.HealthServicer(experimental_non_blocking=True)
        self._is_closing = threading.Event()
        self._seen = 0
        self._is_serving: bool | None = None
        self._report()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self._thread = threading.Thread(target=self._follow, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say that no service is served, from now on."""
        self._is_closing.set()
        self._thread.join()
        self._servicer.enter_graceful_shutdown()

    def _follow(self) -> None:
        while not self._is_closing.is_set():
            self._seen = self._core.manager.wait_for_change(self._seen, timeout_s=_CHECK_S)
            self._report()

    def _report(self) -> None:
        is_serving = not self._core.unavailable_models()
        if is_serving == self._is_serving:  # a status set again is sent again to those who watch
            return
        self._is_serving = is_serving
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in SERVICES:
            self._servicer.set(service, status)
