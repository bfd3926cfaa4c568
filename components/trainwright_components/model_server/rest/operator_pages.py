"""What operators ask of a server, at paths where TensorFlow Serving has nothing: health, readiness, models, metrics."""

import json
from collections.abc import Callable
from typing import Any

from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.http.response import Response
from trainwright_components.model_server.metrics import ServingMetrics

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
HEALTH_PATH, READY_PATH, MODELS_PATH = "/healthz", "/readyz", "/models"
OPEN_PATHS = frozenset({HEALTH_PATH, READY_PATH})
"""Paths that answer without an API key: who probes them has none."""


def operator_pages(core: ServerCore) -> dict[str, Callable[[], Response]]:
    """Pages by path: `/healthz`, `/readyz` and `/models`."""
    return {
        HEALTH_PATH: lambda: _json_response({"status": "ok"}),
        READY_PATH: lambda: _readiness(core),
        MODELS_PATH: lambda: _json_response({"models": [_model(core, name) for name in core.model_names()]}),
    }


def metrics_pages(metrics: ServingMetrics, config: Any) -> dict[str, Callable[[], Response]]:
    """The page that a MonitoringConfig asks for, by its path; none where it is switched off."""
    if not config.prometheus_config.enable:
        return {}
    path = config.prometheus_config.path or DEFAULT_METRICS_PATH
    return {path: lambda: Response(status=200, content=metrics.text().encode(), media_type=b"text/plain")}


def _readiness(core: ServerCore) -> Response:
    missing = core.unavailable_models()
    if missing:
        return _json_response({"status": "not ready", "unavailable_models": missing}, status=503)
    return _json_response({"status": "ready"})


def _model(core: ServerCore, name: str) -> dict[str, Any]:
    versions = [
        {
            "version": str(state.id.version),
            "state": state.state.name,
            "error_code": state.error_code.name,
            "error_message": state.error_message,
        }
        for state in core.manager.states(name)
    ]
    return {"name": name, "is_available": name not in core.unavailable_models(), "versions": versions}


def _json_response(content: Any, *, status: int = 200) -> Response:
    return Response(status=status, content=(json.dumps(content, indent=1) + "\n").encode())
