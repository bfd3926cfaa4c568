"""The manager brings aspired versions into service and others out of it, and lends handles to those that serve.

One thread decides; loads and unloads run in threads of their own, so that requests never wait for them. A handle keeps
its version loaded until it is given back, so that no request loses its version to a swap.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trainwright_components.model_server.loader import Loader
from trainwright_components.model_server.servable import Servable, ServableId, ServableState, State
from trainwright_components.model_server.status import Code, StatusError
from trainwright_components.model_server.transition_policy import (
    Action,
    AvailabilityPreserving,
    Phase,
    TransitionPolicy,
    VersionView,
)

logger = logging.getLogger(__name__)

DEFAULT_LOAD_THREADS = 2
DEFAULT_MAX_LOAD_RETRIES = 5
DEFAULT_RETRY_INTERVAL_S = 60.0
_PHASES = {
    State.START: Phase.NEW,
    State.LOADING: Phase.LOADING,
    State.AVAILABLE: Phase.READY,
    State.UNLOADING: Phase.ENDING,
    State.END: Phase.ENDED,
}


@dataclass(frozen=True, kw_only=True)
class ServableHandle:
    """A loaded version, lent to one request."""

    id: ServableId
    servable: Servable


@dataclass
class _Harness:
    id: ServableId
    path: Path
    state: State = State.START
    is_aspired: bool = True
    error: StatusError | None = None
    servable: Servable | None = None
    handles: int = 0
    given_up: threading.Event = field(default_factory=threading.Event)

    def snapshot(self) -> ServableState:
        error = self.error
        return ServableState(
            id=self.id,
            state=self.state,
            error_code=error.code if error else Code.OK,
            error_message=error.message if error else "",
        )


class Manager:
    """Owns every loaded version.

    Args:
        loader: Makes a servable of a version's folder.
        policy: Order of loads and unloads; availability comes first by default.
        load_threads: Loads and unloads that may run at once.
        max_load_retries: Further attempts after a load failed.
        retry_interval_s: Seconds between two attempts.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        policy: TransitionPolicy | None = None,
        load_threads: int = DEFAULT_LOAD_THREADS,
        max_load_retries: int = DEFAULT_MAX_LOAD_RETRIES,
        retry_interval_s: float = DEFAULT_RETRY_INTERVAL_S,
    ) -> None:
        self._loader = loader
        self._policy = policy or AvailabilityPreserving()
        self._max_load_retries = max_load_retries
        self._retry_interval_s = retry_interval_s
        self._changed = threading.Condition()
        self._models: dict[str, dict[int, _Harness]] = {}
        self._is_closing = False
        self._pool = ThreadPoolExecutor(load_threads, thread_name_prefix="load")
        self._thread = threading.Thread(target=self._decide, name="manager", daemon=True)
        self._thread.start()

    def set_aspired(self, name: str, versions: Mapping[int, Path]) -> None:
        """Make `versions` the ones to serve under `name`; the change itself happens behind this call."""
        with self._changed:
            harnesses = self._models.setdefault(name, {})
            for version, harness in harnesses.items():
                harness.is_aspired = version in versions
                if not harness.is_aspired:
                    harness.given_up.set()
                    if harness.state is State.START:
                        harness.state = State.END
            for version, path in versions.items():
                known = harnesses.get(version)
                if known is None or (known.state is State.END and (known.given_up.is_set() or known.path != path)):
                    harnesses[version] = _Harness(ServableId(name, version), path)
            self._changed.notify_all()

    @contextmanager
    def handle(self, name: str, version: int | None = None) -> Iterator[ServableHandle]:
        """Lend a version that answers: the one asked for, else the highest.

        Raises:
            StatusError: None such answers.
        """
        harness = self._take(name, version)
        assert harness.servable is not None
        try:
            yield ServableHandle(id=harness.id, servable=harness.servable)
        finally:
            with self._changed:
                harness.handles -= 1
                self._unload_if_free(harness)

    def states(self, name: str) -> list[ServableState]:
        """Every version of `name` ever seen, highest first."""
        with self._changed:
            harnesses = self._models.get(name, {})
            return [harnesses[version].snapshot() for version in sorted(harnesses, reverse=True)]

    def wait_until_settled(self, name: str, *, timeout_s: float | None = None) -> list[ServableState]:
        """Wait until an aspired version of `name` answers, or all aspired ones have failed; return its states."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled(name), timeout_s)
        return self.states(name)

    def wait_until_idle(self) -> None:
        """Wait until every load that was asked for has ended, well or not."""
        moving = {State.START, State.LOADING}
        with self._changed:
            self._changed.wait_for(
                lambda: not any(h.state in moving for versions in self._models.values() for h in versions.values())
            )

    def close(self) -> None:
        """Stop deciding, wait for loads under way and unload everything."""
        with self._changed:
            self._is_closing = True
            for harnesses in self._models.values():
                for harness in harnesses.values():
                    harness.given_up.set()
            self._changed.notify_all()
        self._thread.join()
        self._pool.shutdown(wait=True)
        for harnesses in self._models.values():
            for harness in harnesses.values():
                if harness.servable is not None:
                    harness.servable.close()
                    harness.servable = None

    def _take(self, name: str, version: int | None) -> _Harness:
        with self._changed:
            harnesses = self._models.get(name, {})
            ready = [v for v, harness in harnesses.items() if harness.state is State.AVAILABLE]
            wanted = max(ready, default=None) if version is None else version
            if wanted is None or wanted not in ready:
                what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {what}")
            harness = harnesses[wanted]
            harness.handles += 1
            return harness

    def _is_settled(self, name: str) -> bool:
        aspired = [harness for harness in self._models.get(name, {}).values() if harness.is_aspired]
        if self._is_closing or any(harness.state is State.AVAILABLE for harness in aspired):
            return True
        return bool(aspired) and all(harness.state is State.END for harness in aspired)

    def _decide(self) -> None:
        with self._changed:
            while not self._is_closing:
                actions = [self._act(harnesses) for harnesses in self._models.values()]
                if not any(actions):
                    self._changed.wait()

    def _act(self, harnesses: dict[int, _Harness]) -> bool:
        views = [
            VersionView(version=version, is_aspired=harness.is_aspired, phase=_PHASES[harness.state])
            for version, harness in harnesses.items()
        ]
        decision = self._policy.next_action(views)
        if decision is None:
            return False
        action, version = decision
        harness = harnesses[version]
        if action is Action.LOAD:
            harness.state = State.LOADING
            self._pool.submit(self._load, harness)
        else:
            harness.state = State.UNLOADING
            self._unload_if_free(harness)
        self._changed.notify_all()
        return True

    def _load(self, harness: _Harness) -> None:
        logger.info("loading %s from %s", harness.id, harness.path)
        started = time.monotonic()
        servable, error = self._attempts(harness)
        with self._changed:
            harness.servable, harness.error = servable, error
            harness.state = State.AVAILABLE if servable is not None else State.END
            self._changed.notify_all()
        if error:
            logger.error("loading %s failed: %s", harness.id, error)
        else:
            logger.info("%s is available after %.2f s", harness.id, time.monotonic() - started)

    def _attempts(self, harness: _Harness) -> tuple[Servable | None, StatusError | None]:
        error = None
        for attempt in range(1 + self._max_load_retries):
            if attempt:
                logger.warning("loading %s failed, retry %d: %s", harness.id, attempt, error)
                if harness.given_up.wait(self._retry_interval_s):
                    break
            try:
                return self._loader.load(harness.path), None
            except StatusError as failure:
                error = failure
            except Exception as failure:  # whatever a model's own code raises must not end the thread
                logger.exception("loading %s failed", harness.id)
                error = StatusError(Code.UNKNOWN, f"{type(failure).__name__}: {failure}")
        return None, error

    def _unload_if_free(self, harness: _Harness) -> None:
        if harness.state is State.UNLOADING and not harness.handles and not self._is_closing:
            self._pool.submit(self._unload, harness)

    def _unload(self, harness: _Harness) -> None:
        with self._changed:
            servable, harness.servable = harness.servable, None
        if servable is not None:
            servable.close()
        with self._changed:
            harness.state = State.END
            self._changed.notify_all()
        logger.info("unloaded %s", harness.id)
