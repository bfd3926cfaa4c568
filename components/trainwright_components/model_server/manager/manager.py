"""The manager brings aspired versions into service and others out of it, and lends handles to those that serve.

One thread decides; loads and unloads run in threads of their own, so that requests never wait for them. A handle keeps
its version loaded until it is given back, so that no request loses its version to a swap. A load that failed waits for
its next attempt without holding a thread, so that other models are not held up.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainwright_components.model_server.manager.harness import Fingerprint, HarnessState, LoaderHarness
from trainwright_components.model_server.manager.transition_policy import (
    Action,
    AvailabilityPreserving,
    TransitionPolicy,
    VersionPhase,
    VersionView,
)
from trainwright_components.model_server.servable import Loader, Servable, ServableId, ServableState
from trainwright_components.model_server.status import Code, StatusError

logger = logging.getLogger(__name__)

DEFAULT_LOAD_THREADS = 2
DEFAULT_MAX_LOAD_RETRIES = 5
DEFAULT_RETRY_INTERVAL_S = 60.0
MAX_ENDED_VERSIONS = 200  # of each model, that status still tells of


class ServableHandle:
    """A loaded version, lent to one request until the end of a `with` block.

    Args:
        harness: Holds the version, and counts the handles.
        give_back: Takes the harness when the request is done.
    """

    __slots__ = ("_give_back", "_harness", "id", "servable")

    def __init__(self, harness: LoaderHarness, give_back: Callable[[LoaderHarness], None]) -> None:
        assert harness.servable is not None
        self.id: ServableId = harness.id
        self.servable: Servable = harness.servable
        self._harness = harness
        self._give_back = give_back

    def __enter__(self) -> "ServableHandle":
        """The handle itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the version back."""
        self._give_back(self._harness)


class Manager:
    """Owns every loaded version.

    Args:
        loader: Makes a servable of a version's folder.
        policy: Order of loads and unloads; availability comes first by default.
        load_threads: Loads that may run at once.
        unload_threads: Unloads that may run at once.
        max_load_retries: Further attempts after a load failed.
        retry_interval_s: Seconds between two attempts.
        after_unload: Called after each unload, in its thread.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        policy: TransitionPolicy | None = None,
        load_threads: int = DEFAULT_LOAD_THREADS,
        unload_threads: int = DEFAULT_LOAD_THREADS,
        max_load_retries: int = DEFAULT_MAX_LOAD_RETRIES,
        retry_interval_s: float = DEFAULT_RETRY_INTERVAL_S,
        after_unload: Callable[[], None] = lambda: None,
    ) -> None:
        self._loader = loader
        self._policy = policy or AvailabilityPreserving()
        self._max_load_retries = max_load_retries
        self._retry_interval_s = retry_interval_s
        self._after_unload = after_unload
        self._changed = threading.Condition()
        self._models: dict[str, dict[int, LoaderHarness]] = {}
        self._is_closing = False
        self._changes = 0
        self._loads = ThreadPoolExecutor(load_threads, thread_name_prefix="load")
        self._unloads = ThreadPoolExecutor(unload_threads, thread_name_prefix="unload")
        self._thread = threading.Thread(target=self._decide, name="manager", daemon=True)
        self._thread.start()

    def set_aspired(self, name: str, versions: Mapping[int, Path]) -> None:
        """Make `versions` the ones to serve under `name`; the change itself happens behind this call.

        A version that failed is tried anew when it is aspired to again after it was not, or when its files changed.
        """
        repaired = self._repaired(name, versions)
        with self._changed:
            harnesses = self._models.setdefault(name, {})
            is_changed = False
            for version, harness in harnesses.items():
                if harness.is_aspired and version not in versions:
                    self._unaspire(harness)
                    is_changed = True
            for version, path in versions.items():
                known = harnesses.get(version)
                if known is None or (
                    known.is_ended and (not known.is_aspired or known.path != path or version in repaired)
                ):
                    harnesses[version] = LoaderHarness(ServableId(name, version), path)
                    is_changed = True
                elif not known.is_aspired and known.phase is not VersionPhase.ENDING:
                    known.is_aspired = is_changed = True
            if is_changed:
                _forget_the_oldest(harnesses)
                self._notify()

    def handle(self, name: str, version: int | None = None) -> ServableHandle:
        """Lend a version that answers: the one asked for, else the highest.

        Raises:
            StatusError: None such answers.
        """
        return ServableHandle(self._take(name, version), self._give_back)

    def states(self, name: str) -> list[ServableState]:
        """Every version of `name` that is known, highest first."""
        with self._changed:
            harnesses = self._models.get(name, {})
            return [harnesses[version].snapshot() for version in sorted(harnesses, reverse=True)]

    def wait_until_settled(self, name: str, *, timeout_s: float | None = None) -> list[ServableState]:
        """Wait until the highest aspired version of `name` that can be loaded answers, or all have failed.

        Returns:
            The states of its versions.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled(name), timeout_s)
        return self.states(name)

    def wait_until_idle(self) -> None:
        """Wait until every load that was asked for has ended, well or not."""
        with self._changed:
            self._changed.wait_for(
                lambda: not any(h.is_on_its_way for versions in self._models.values() for h in versions.values())
            )

    def wait_for_change(self, seen: int, *, timeout_s: float) -> int:
        """Wait until more than `seen` changes of state have happened, or the time is over; return how many have."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes > seen, timeout_s)
            return self._changes

    def close(self) -> None:
        """Stop deciding, wait for loads under way and unload everything."""
        with self._changed:
            self._is_closing = True
            self._notify()
        self._thread.join()
        self._loads.shutdown(wait=True, cancel_futures=True)
        self._unloads.shutdown(wait=True, cancel_futures=True)
        for harnesses in self._models.values():
            for harness in harnesses.values():
                if harness.servable is not None:
                    harness.servable.close()
                    harness.servable = None

    def _repaired(self, name: str, versions: Collection[int]) -> set[int]:
        """Which of `versions` failed and may do better now; requests do not wait while their files are looked at."""
        with self._changed:
            known = self._models.get(name, {})
            failed = [known[v] for v in versions if v in known and known[v].state is HarnessState.ERROR]
        return {harness.id.version for harness in failed if harness.is_repaired()}

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def _unaspire(self, harness: LoaderHarness) -> None:
        harness.is_aspired = False
        if harness.state is HarnessState.NEW:
            harness.state = HarnessState.DISABLED
        elif harness.retry_at is not None:
            logger.info("loading %s is given up: it is no longer wanted", harness.id)
            harness.retry_at = None
            harness.state = HarnessState.ERROR

    def _take(self, name: str, version: int | None) -> LoaderHarness:
        with self._changed:
            harnesses = self._models.get(name, {})
            ready = [v for v, harness in harnesses.items() if harness.state is HarnessState.READY]
            wanted = max(ready, default=None) if version is None else version
            if wanted is None or wanted not in ready:
                what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {what}")
            harness = harnesses[wanted]
            harness.handles += 1
            return harness

    def _give_back(self, harness: LoaderHarness) -> None:
        with self._changed:
            harness.handles -= 1
            self._unload_if_free(harness)

    def _is_settled(self, name: str) -> bool:
        harnesses = self._models.get(name, {})
        aspired = [harnesses[version] for version in sorted(harnesses, reverse=True) if harnesses[version].is_aspired]
        if self._is_closing:
            return True
        for harness in aspired:
            if not harness.is_ended and harness.retry_at is None:
                return harness.state is HarnessState.READY
        return bool(aspired) and all(harness.is_ended for harness in aspired)

    def _decide(self) -> None:
        with self._changed:
            while not self._is_closing:
                next_retry_at = self._retry_what_is_due()
                actions = [self._act(harnesses) for harnesses in self._models.values()]
                if not any(actions):
                    self._changed.wait(next_retry_at and max(0.0, next_retry_at - time.monotonic()))

    def _retry_what_is_due(self) -> float | None:
        """Start the attempts whose time has come; the time of the next one, if any waits."""
        waiting = [h for harnesses in self._models.values() for h in harnesses.values() if h.retry_at is not None]
        later = []
        for harness in waiting:
            assert harness.retry_at is not None
            if harness.retry_at > time.monotonic():
                later.append(harness.retry_at)
                continue
            self._approve(harness)
        return min(later, default=None)

    def _act(self, harnesses: dict[int, LoaderHarness]) -> bool:
        views = [
            VersionView(version=version, is_aspired=harness.is_aspired, phase=harness.phase)
            for version, harness in harnesses.items()
        ]
        decision = self._policy.next_action(views)
        if decision is None:
            return False
        action, version = decision
        harness = harnesses[version]
        if action is Action.LOAD:
            harness.state = HarnessState.LOAD_REQUESTED
            self._approve(harness)
        else:
            harness.state = HarnessState.UNLOAD_REQUESTED
            self._quiesce(harness)
        self._notify()
        return True

    def _approve(self, harness: LoaderHarness) -> None:
        harness.state, harness.retry_at = HarnessState.LOAD_APPROVED, None
        self._loads.submit(self._load, harness)

    def _load(self, harness: LoaderHarness) -> None:
        with self._changed:
            harness.state = HarnessState.LOADING
            harness.attempts += 1
            self._notify()
        logger.info("loading %s from %s", harness.id, harness.path)
        started = time.monotonic()
        try:
            servable = self._loader.load(harness.id, harness.path)
        except StatusError as error:
            self._fail(harness, error)
        except Exception as error:  # whatever a model's own code raises must not end the thread
            logger.exception("loading %s failed", harness.id)
            self._fail(harness, StatusError(Code.UNKNOWN, f"{type(error).__name__}: {error}"))
        else:
            with self._changed:
                harness.servable, harness.error = servable, None
                harness.state = HarnessState.READY
                self._notify()
            logger.info("%s is available after %.2f s", harness.id, time.monotonic() - started)

    def _fail(self, harness: LoaderHarness, error: StatusError) -> None:
        files = Fingerprint.of(harness.path)
        with self._changed:
            harness.error, harness.failed_files = error, files
            if harness.attempts > self._max_load_retries or not harness.is_aspired or self._is_closing:
                logger.error("loading %s failed: %s", harness.id, error)
                harness.state = HarnessState.ERROR
            else:
                wait_s = self._retry_interval_s
                logger.warning(
                    "loading %s failed, attempt %d in %g s: %s", harness.id, harness.attempts + 1, wait_s, error
                )
                harness.retry_at = time.monotonic() + wait_s
            self._notify()

    def _quiesce(self, harness: LoaderHarness) -> None:
        harness.state = HarnessState.QUIESCING
        self._unload_if_free(harness)

    def _unload_if_free(self, harness: LoaderHarness) -> None:
        if harness.state is HarnessState.QUIESCING and not harness.handles and not self._is_closing:
            harness.state = HarnessState.QUIESCED
            self._unloads.submit(self._unload, harness)

    def _unload(self, harness: LoaderHarness) -> None:
        with self._changed:
            harness.state = HarnessState.UNLOADING
            servable, harness.servable = harness.servable, None
        if servable is not None:
            servable.close()
            del servable
            self._after_unload()
        with self._changed:
            harness.state = HarnessState.DISABLED
            self._notify()
        logger.info("unloaded %s", harness.id)


def _forget_the_oldest(harnesses: dict[int, LoaderHarness]) -> None:
    ended = sorted(version for version, harness in harnesses.items() if harness.is_ended and not harness.is_aspired)
    for version in ended[:-MAX_ENDED_VERSIONS]:
        del harnesses[version]
