"""Put a SavedModel into service: smoke-test it, publish it as the next version, see it answer, or withdraw it."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from trainwright_components.deploy_serving.history import (
    HistoryEntry,
    append_history,
    golden_requests_file,
    now_text,
    read_history,
)
from trainwright_components.deploy_serving.proving import (
    Candidate,
    Unfit,
    prove_live,
    smoke_test,
    versions_known,
    wait_until_live,
)
from trainwright_components.errors import ComparisonOutdated, DeploymentRejected, InvalidData, InvalidSetting
from trainwright_components.files import check_local, content_digest, write_whole
from trainwright_components.home import home_folder
from trainwright_components.model_server.operation.control import add_model, remove_model, start_server
from trainwright_components.model_server.operation.serving_home import ServerInfo, check_model
from trainwright_components.processes.locks import locked
from trainwright_components.saved_models.golden import GoldenRequest, GoldenResult, read_golden_requests
from trainwright_components.saved_models.history import NO_VERSION
from trainwright_components.saved_models.layout import SAVED_MODEL_FILE
from trainwright_components.saved_models.versions import (
    LOCK_NAME,
    check_name,
    list_versions,
    live_version,
    publish,
    remove_leftovers,
    staged_copy,
    version_folder,
    withdraw,
)

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 300.0
MODELS_FOLDER = "models"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A version in service.

    Args:
        is_new_version: False when the version now live already had this content.
        golden: What the replay through the serving address gave.
        example: A golden request, for a line to paste.
        history: All attempts under the base path, oldest first.
    """

    model_name: str
    base_path: Path
    version: int
    previous_version: int | None
    is_new_version: bool
    content_digest: str
    server: ServerInfo
    golden: GoldenResult
    example: GoldenRequest
    history: list[HistoryEntry]

    @property
    def rest_url(self) -> str:
        """The model's address over REST."""
        return self.server.model_url(self.model_name)


def deploy_model(
    saved_model: str | Path,
    golden_requests: str | Path,
    *,
    model_name: str,
    home: str | Path | None = None,
    base_path: str | Path = "",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    compared_with: str = "",
    run: str = "",
) -> Deployment:
    """Serve `saved_model` as the next version of `model_name`, after it has answered its golden requests.

    The candidate answers them first on a server of its own, then, published, on the one that serves. Until then and
    whenever it fails, the previous version stays in service. Content that is live already is only verified again.

    Args:
        saved_model: Folder with `saved_model.pb`.
        golden_requests: JSON-lines file of requests and answers.
        model_name: Letters, digits, `.`, `_` and `-`.
        home: The folder of state, whose server serves the model; what TRAINWRIGHT_HOME says when absent.
        base_path: Folder of the model's versions; empty for `<home>/models/<model_name>`.
        timeout_s: Seconds until the version must answer, for each of its two servers.
        compared_with: The version that must still be live when this one is published, `none` where none may be; empty
            publishes whatever is live.
        run: The run that deploys, for the history.

    Returns:
        The version, where it answers, and the history of its model.

    Raises:
        InvalidSetting: The name, the home, the base path or `compared_with` cannot be used.
        InvalidData: The SavedModel or the golden requests are missing or broken.
        DeploymentRejected: The version failed and was withdrawn; the message says at what.
        ComparisonOutdated: Another version than `compared_with` is live; nothing was published.
        ServingUnavailable: The server cannot be started.
    """
    check_name(model_name)
    check_local(base_path, name="serving.base_path")
    saved_model, golden_requests, home = Path(saved_model), Path(golden_requests), home_folder(home)
    _check_compared_with(compared_with)
    _check_saved_model(saved_model)
    requests = read_golden_requests(golden_requests)
    folder = Path(base_path).absolute() if base_path else home.absolute() / MODELS_FOLDER / model_name
    check_model(home, model_name, folder)
    _make_base_path(folder)
    candidate = Candidate(
        saved_model=saved_model,
        golden_requests=golden_requests,
        requests=requests,
        model_name=model_name,
        base_path=folder,
        home=home,
        digest=content_digest(saved_model),
        timeout_s=timeout_s,
        compared_with=compared_with,
        run=run,
    )
    with locked(folder / LOCK_NAME):
        remove_leftovers(folder)
        live = live_version(folder)
        if live is not None and content_digest(version_folder(folder, live)) == candidate.digest:
            return _verify_again(candidate, live)
        _check_still_live(candidate)
        return _deploy_next(candidate, live)


def _verify_again(candidate: Candidate, live: int) -> Deployment:
    logger.info("version %d of %s has this content already; verifying it again", live, candidate.model_name)
    server = start_server(candidate.home)
    add_model(candidate.home, candidate.model_name, candidate.base_path)
    try:
        golden = prove_live(candidate, server, live)
    except Unfit as error:
        raise DeploymentRejected(
            f"version {live} of {candidate.model_name!r}, which is live, has this content already and "
            f"does not answer as it must: {error}. Nothing was changed"
        ) from error
    previous = max((each for each in list_versions(candidate.base_path) if each < live), default=None)
    return _deployment(candidate, live, previous, golden, is_new_version=False)


def _deploy_next(candidate: Candidate, live: int | None) -> Deployment:
    version = _next_version(candidate)
    logger.info("smoke test of version %d of %s", version, candidate.model_name)
    with (
        staged_copy(candidate.saved_model, candidate.base_path, version) as stage,
        _starting_server(candidate.home) as starting,
    ):
        try:
            smoke_test(candidate, stage, version)
        except Unfit as error:
            raise _rejection(candidate, version, live, error) from error
        server = starting.result()
        _check_still_live(candidate)  # again: programs that do not know the lock publish too
        add_model(candidate.home, candidate.model_name, candidate.base_path)
        publish(stage, candidate.base_path, version)
    logger.info("published version %d of %s; waiting until it answers", version, candidate.model_name)
    try:
        golden = prove_live(candidate, server, version)
    except BaseException as error:
        _take_back(candidate, version, live)
        if isinstance(error, Unfit):
            raise _rejection(candidate, version, live, error) from error
        raise
    return _deployment(candidate, version, live, golden, is_new_version=True)


def _take_back(candidate: Candidate, version: int, live: int | None) -> None:
    withdraw(candidate.base_path, version)
    if live is None:
        remove_model(candidate.home, candidate.model_name)
    elif not wait_until_live(candidate, live):
        logger.error("version %d of %s does not answer yet; see `trainwright serve status`", live, candidate.model_name)


def _rejection(candidate: Candidate, version: int, live: int | None, reason: Unfit) -> DeploymentRejected:
    entry = HistoryEntry(
        version=version,
        event="withdrawn",
        time=now_text(),
        content_digest=candidate.digest,
        reason=str(reason),
        run=candidate.run,
    )
    append_history(candidate.base_path, entry)
    rest = f"version {live} keeps serving" if live is not None else "no version of it is served"
    return DeploymentRejected(
        f"version {version} of {candidate.model_name!r} was withdrawn: {reason}. {rest[0].upper()}{rest[1:]}"
    )


def _deployment(
    candidate: Candidate, version: int, previous: int | None, golden: GoldenResult, *, is_new_version: bool
) -> Deployment:
    entry = HistoryEntry(
        version=version,
        event="published" if is_new_version else "verified again",
        time=now_text(),
        content_digest=candidate.digest,
        golden_requests=golden.requests,
        largest_difference=golden.largest_difference,
        run=candidate.run,
    )
    write_whole(golden_requests_file(candidate.base_path, version), candidate.golden_requests.read_bytes())
    return Deployment(
        model_name=candidate.model_name,
        base_path=candidate.base_path,
        version=version,
        previous_version=previous,
        is_new_version=is_new_version,
        content_digest=candidate.digest,
        server=start_server(candidate.home),
        golden=golden,
        example=candidate.requests[0],
        history=append_history(candidate.base_path, entry),
    )


@contextmanager
def _starting_server(home: Path) -> Iterator["Future[ServerInfo]"]:
    """Start the server during the smoke test: it spends seconds on importing TensorFlow."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(start_server, home)


def _next_version(candidate: Candidate) -> int:
    """A number above all that were ever given out, so that a number means one content for good.

    One that the server knows is passed over: it may list a folder that is gone until it looks again.
    """
    given = [entry.version for entry in read_history(candidate.base_path)]
    known = versions_known(candidate)
    return next(each for each in count(max([0, *list_versions(candidate.base_path), *given]) + 1) if each not in known)


def _check_compared_with(value: str) -> None:
    if value not in ("", NO_VERSION) and not (value.isascii() and value.isdigit()):
        raise InvalidSetting(f"compared_with must be a version's number, {NO_VERSION!r} or empty, got {value!r}")


def _check_still_live(candidate: Candidate) -> None:
    """Refuse to replace a version that the candidate was not compared with; call it with the deploy lock held."""
    if not candidate.compared_with:
        return
    expected = None if candidate.compared_with == NO_VERSION else int(candidate.compared_with)
    live = live_version(candidate.base_path)
    if live == expected:
        return
    was = "when no version was served" if expected is None else f"with version {expected}"
    what = "no version is" if live is None else f"version {live}{_publisher(candidate.base_path, live)} is"
    raise ComparisonOutdated(
        f"{candidate.model_name!r} was not deployed: this model was evaluated {was}, but {what} live now. Nothing was "
        "published. To compare it again, resume the run (trainwright runs resume), or run evaluate again",
        stale_input="compared_with",
    )


def _publisher(base_path: Path, version: int) -> str:
    """Which run published a version, as far as the history knows."""
    runs = [each.run for each in read_history(base_path) if (each.version, each.event) == (version, "published")]
    return f", published by the run {runs[-1]}," if runs and runs[-1] else ""


def _check_saved_model(folder: Path) -> None:
    if not (folder / SAVED_MODEL_FILE).is_file():
        raise InvalidData(f"{folder} holds no {SAVED_MODEL_FILE}: give the folder of an exported SavedModel")


def _make_base_path(base_path: Path) -> None:
    try:
        base_path.mkdir(parents=True, exist_ok=True)
        (base_path / LOCK_NAME).touch()
    except OSError as error:
        raise InvalidSetting(f"serving.base_path {base_path} cannot be written to: {error.strerror}") from error
