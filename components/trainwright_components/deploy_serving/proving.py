"""Prove a version: on a server of its own before it is published, and on the serving address afterwards."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import ServingUnavailable
from trainwright_components.model_server.operation.client import version_states
from trainwright_components.model_server.operation.control import server_status, serving_program
from trainwright_components.model_server.operation.serving_home import ServerInfo
from trainwright_components.model_server.operation.temporary_server import temporary_server
from trainwright_components.saved_models.golden import GoldenMismatch, GoldenRequest, GoldenResult, Server, replay

logger = logging.getLogger(__name__)

RETURN_TIMEOUT_S = 60.0
_POLL_S = 0.1
_CRASHES_TOLERATED = 1


class Unfit(Exception):
    """Why a version cannot go or stay in service."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A SavedModel to deploy, where and by which run; `requests` are those of the file `golden_requests`."""

    saved_model: Path
    golden_requests: Path
    requests: list[GoldenRequest]
    model_name: str
    base_path: Path
    home: Path
    digest: str
    timeout_s: float
    compared_with: str
    run: str


def smoke_test(candidate: Candidate, stage: Path, version: int) -> None:
    """Serve the staged version where nobody else asks, and replay the golden requests.

    Raises:
        Unfit: It cannot be loaded, or answers differently.
    """
    try:
        program = serving_program(candidate.home)
        with temporary_server(candidate.model_name, stage, program=program, timeout_s=candidate.timeout_s) as temporary:
            server = Server(
                rest_address=temporary.rest_address,
                grpc_address=temporary.grpc_address,
                model_name=candidate.model_name,
                version=version,
            )
            _check_state(server, version_states(server.rest_address, server.model_name) or {})
            result = _replayed(candidate.requests, server)
    except ServingUnavailable as error:
        raise Unfit(f"it cannot be served: {error}") from error
    logger.info("%d golden requests answered, largest difference %.3g", result.requests, result.largest_difference)


def versions_known(candidate: Candidate) -> Collection[int]:
    """The versions that the server lists for the model, also those that failed or ended; none without a server."""
    status = server_status(candidate.home)
    if status is None or not status.is_running:
        return ()
    try:
        return version_states(status.info.rest_address, candidate.model_name) or ()
    except ServingUnavailable:
        return ()  # a server that restarts forgets the versions that ended


def prove_live(candidate: Candidate, info: ServerInfo, version: int) -> GoldenResult:
    """Wait until `version` answers on the serving address, then replay the golden requests there.

    Raises:
        Unfit: It cannot be loaded, does not answer in time, or answers differently.
        ServingUnavailable: The server was stopped.
    """
    deadline = time.monotonic() + candidate.timeout_s
    while not _is_available(candidate, info, version):
        if time.monotonic() > deadline:
            raise Unfit(f"it was not available within {candidate.timeout_s:.0f} s")
        time.sleep(_POLL_S)
    status = server_status(candidate.home)
    current = status.info if status else info
    return _replayed(
        candidate.requests,
        Server(
            rest_address=current.rest_address,
            grpc_address=current.grpc_address,
            model_name=candidate.model_name,
            version=version,
        ),
    )


def wait_until_live(candidate: Candidate, version: int, *, timeout_s: float = RETURN_TIMEOUT_S) -> bool:
    """Wait until `version` is what the serving address answers with by default; whether it came to that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = server_status(candidate.home)
        if status is None or not status.is_running:
            return False
        if any(m.name == candidate.model_name and m.live_version == version for m in status.models):
            return True
        time.sleep(_POLL_S)
    return False


def _is_available(candidate: Candidate, info: ServerInfo, version: int) -> bool:
    status = server_status(candidate.home)
    if status is None or not status.is_running:
        raise ServingUnavailable("the server was stopped meanwhile: start it with `trainwright serve start`")
    if status.info.restarts > info.restarts + _CRASHES_TOLERATED:
        raise Unfit(f"the server ended {status.info.restarts - info.restarts} times while loading it")
    try:
        states = version_states(status.info.rest_address, candidate.model_name) or {}
    except ServingUnavailable:
        return False
    if version not in states:
        return False
    state, message = states[version]
    if state == "END":
        raise Unfit(f"it cannot be loaded: {message}")
    return state == "AVAILABLE"


def _check_state(server: Server, states: dict[int, tuple[str, str]]) -> None:
    state, message = states.get(server.version, ("missing", ""))
    if state != "AVAILABLE":
        raise Unfit(f"it cannot be loaded: {message or state}")


def _replayed(requests: list[GoldenRequest], server: Server) -> GoldenResult:
    try:
        return replay(requests, server)
    except GoldenMismatch as error:
        raise Unfit(str(error)) from error
