"""Versions come and go behind requests: loads, failures, retries, handles."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainwright_components.model_server.manager.harness import HarnessState, LoaderHarness
from trainwright_components.model_server.manager.manager import MAX_ENDED_VERSIONS, Manager
from trainwright_components.model_server.manager.transition_policy import ResourcePreserving
from trainwright_components.model_server.servable import Loader, OutputOf, Servable, ServableId, State, Tensors
from trainwright_components.model_server.status import Code, StatusError

ROOT = Path("/versions")


class Number:
    """A servable that knows its version and whether it was closed."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.signatures: dict[str, Any] = {}
        self.is_closed = False

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        assert not self.is_closed
        return {"version": self.version}

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        raise AssertionError("no test asks for several signatures")

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


class NumberLoader:
    """Loads the number that a path ends with; some fail, some wait to be let through."""

    def __init__(self) -> None:
        self.failures: dict[int, int] = {}
        self.gates: dict[int, threading.Event] = {}
        self.attempts: dict[int, int] = {}

    def load(self, servable_id: ServableId, path: Path) -> Number:
        version = int(path.name)
        self.attempts[version] = self.attempts.get(version, 0) + 1
        if version in self.gates:
            assert self.gates[version].wait(30)
        if self.failures.get(version, 0) > 0:
            self.failures[version] -= 1
            raise StatusError(Code.DATA_LOSS, f"version {version} is broken")
        return Number(version)


if TYPE_CHECKING:
    _: tuple[type[Servable], type[Loader]] = (Number, NumberLoader)


@pytest.fixture
def loader() -> NumberLoader:
    return NumberLoader()


@pytest.fixture
def manager(loader: NumberLoader) -> Iterator[Manager]:
    manager = Manager(loader, max_load_retries=0)
    yield manager
    manager.close()


def aspire(manager: Manager, *versions: int) -> None:
    manager.set_aspired("m", {version: ROOT / str(version) for version in versions})


def states(manager: Manager) -> dict[int, State]:
    return {state.id.version: state.state for state in manager.states("m")}


def answering(manager: Manager, version: int | None = None) -> int:
    with manager.handle("m", version) as handle:
        return int(handle.servable.run("", {}, [])["version"])


def test_the_highest_version_answers_by_default(manager: Manager, eventually: Callable[..., None]) -> None:
    aspire(manager, 1, 2)
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.AVAILABLE})
    assert answering(manager) == 2
    assert answering(manager, 1) == 1


def test_the_old_version_answers_until_the_new_one_does(
    manager: Manager, loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    loader.gates[2] = threading.Event()
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    aspire(manager, 2)
    eventually(lambda: states(manager).get(2) is State.LOADING)
    assert answering(manager) == 1
    loader.gates[2].set()
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END})
    assert answering(manager) == 2


def test_a_request_keeps_its_version_until_it_is_done(manager: Manager, eventually: Callable[..., None]) -> None:
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    with ExitStack() as request:
        handle = request.enter_context(manager.handle("m"))
        aspire(manager, 2)
        eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.UNLOADING})
        assert answering(manager) == 2
        assert handle.servable.run("", {}, []) == {"version": 1}
    eventually(lambda: states(manager)[1] is State.END)
    assert getattr(handle.servable, "is_closed")  # noqa: B009  # of this test's servable, not of the protocol


def test_a_broken_version_leaves_the_old_one_serving(
    manager: Manager, loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    loader.failures[2] = 99
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    aspire(manager, 2)
    eventually(lambda: states(manager).get(2) is State.END)
    assert answering(manager) == 1
    failed = manager.states("m")[0]
    assert (failed.error_code, failed.error_message) == (Code.DATA_LOSS, "version 2 is broken")


def test_a_broken_version_is_tried_anew_only_after_it_left(
    manager: Manager, loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    loader.failures[2] = 1
    aspire(manager, 2)
    eventually(lambda: states(manager) == {2: State.END})
    aspire(manager, 2)
    assert states(manager) == {2: State.END}
    aspire(manager)
    aspire(manager, 2)
    eventually(lambda: states(manager) == {2: State.AVAILABLE})


def test_going_back_to_a_lower_version_leaves_no_gap(
    manager: Manager, loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    aspire(manager, 2)
    eventually(lambda: states(manager) == {2: State.AVAILABLE})
    loader.gates[1] = threading.Event()
    aspire(manager, 1)
    eventually(lambda: states(manager).get(1) is State.LOADING)
    assert answering(manager) == 2
    loader.gates[1].set()
    eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE})
    assert answering(manager) == 1


def test_without_aspired_versions_nothing_answers(manager: Manager, eventually: Callable[..., None]) -> None:
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    aspire(manager)
    eventually(lambda: states(manager) == {1: State.END})
    with pytest.raises(StatusError, match="Servable not found for request: Latest"):
        answering(manager)


def test_loads_are_tried_again_as_often_as_asked(loader: NumberLoader, eventually: Callable[..., None]) -> None:
    manager = Manager(loader, max_load_retries=2, retry_interval_s=0)
    try:
        loader.failures = {1: 2, 2: 3}
        manager.set_aspired("m", {1: ROOT / "1"})
        manager.set_aspired("n", {2: ROOT / "2"})
        eventually(lambda: states(manager) == {1: State.AVAILABLE})
        eventually(lambda: manager.states("n")[0].state is State.END)
        assert loader.attempts == {1: 3, 2: 3}
    finally:
        manager.close()


def test_retries_end_when_the_version_is_no_longer_wanted(
    loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    manager = Manager(loader, max_load_retries=5, retry_interval_s=3600)
    try:
        loader.failures[1] = 99
        aspire(manager, 1)
        eventually(lambda: loader.attempts.get(1) == 1)
        aspire(manager)
        eventually(lambda: states(manager) == {1: State.END})
        assert loader.attempts == {1: 1}
    finally:
        manager.close()


def test_a_version_that_waits_for_its_next_attempt_holds_up_no_other_model(
    loader: NumberLoader, eventually: Callable[..., None]
) -> None:
    manager = Manager(loader, load_threads=1, max_load_retries=5, retry_interval_s=3600)
    try:
        loader.failures[1] = 99
        aspire(manager, 1)
        eventually(lambda: loader.attempts.get(1) == 1)
        manager.set_aspired("n", {2: ROOT / "2"})
        eventually(lambda: manager.states("n")[0].state is State.AVAILABLE)
        assert states(manager) == {1: State.LOADING}
    finally:
        manager.close()


def test_a_broken_version_is_tried_anew_once_its_files_have_changed_and_rest(
    manager: Manager, loader: NumberLoader, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    loader.failures[1] = 1
    folder = tmp_path / "1"
    folder.mkdir()
    manager.set_aspired("m", {1: folder})
    eventually(lambda: states(manager) == {1: State.END})
    manager.set_aspired("m", {1: folder})
    (folder / "saved_model.pb").write_bytes(b"half")
    manager.set_aspired("m", {1: folder})
    (folder / "saved_model.pb").write_bytes(b"the whole")
    manager.set_aspired("m", {1: folder})
    assert loader.attempts == {1: 1}
    manager.set_aspired("m", {1: folder})
    eventually(lambda: states(manager) == {1: State.AVAILABLE})


def test_a_version_wanted_again_while_it_leaves_is_loaded_anew(
    manager: Manager, eventually: Callable[..., None]
) -> None:
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    with manager.handle("m"):
        aspire(manager)
        eventually(lambda: states(manager) == {1: State.UNLOADING})
        aspire(manager, 1)
        assert states(manager) == {1: State.UNLOADING}
    eventually(lambda: states(manager) == {1: State.END})
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})


def test_versions_that_ended_long_ago_are_forgotten(manager: Manager, eventually: Callable[..., None]) -> None:
    for version in range(1, MAX_ENDED_VERSIONS + 5):
        aspire(manager, version)
        assert manager.wait_until_settled("m", timeout_s=60)[0].state is State.AVAILABLE
    eventually(lambda: list(states(manager).values())[1:] == [State.END] * (len(states(manager)) - 1))
    aspire(manager)
    assert len(states(manager)) <= MAX_ENDED_VERSIONS + 1
    assert 1 not in states(manager)


def test_every_state_is_reported_as_one_of_the_five() -> None:
    reported = {state: LoaderHarness(ServableId("m", 1), ROOT, state=state).reported_state for state in HarnessState}
    assert [state.name for state in HarnessState] == [
        "NEW",
        "LOAD_REQUESTED",
        "LOAD_APPROVED",
        "LOADING",
        "READY",
        "UNLOAD_REQUESTED",
        "QUIESCING",
        "QUIESCED",
        "UNLOADING",
        "DISABLED",
        "ERROR",
    ]
    assert [state for state, seen in reported.items() if seen is State.AVAILABLE] == [
        HarnessState.READY,
        HarnessState.UNLOAD_REQUESTED,
    ]
    assert [state for state, seen in reported.items() if seen is State.END] == [
        HarnessState.DISABLED,
        HarnessState.ERROR,
    ]


def test_resource_preserving_unloads_before_it_loads(loader: NumberLoader, eventually: Callable[..., None]) -> None:
    manager = Manager(loader, policy=ResourcePreserving())
    try:
        aspire(manager, 1)
        eventually(lambda: states(manager) == {1: State.AVAILABLE})
        loader.gates[2] = threading.Event()
        aspire(manager, 2)
        eventually(lambda: states(manager) == {2: State.LOADING, 1: State.END})
        loader.gates[2].set()
        eventually(lambda: answering(manager) == 2 if states(manager)[2] is State.AVAILABLE else False)
    finally:
        manager.close()


def test_closing_unloads_everything(loader: NumberLoader, eventually: Callable[..., None]) -> None:
    manager = Manager(loader)
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    with manager.handle("m") as handle:
        servable = handle.servable
    manager.close()
    assert isinstance(servable, Number)
    assert servable.is_closed


def test_many_swaps_under_load_lose_no_request(manager: Manager, eventually: Callable[..., None]) -> None:
    aspire(manager, 1)
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    is_over = threading.Event()
    answers: list[int] = []
    errors: list[BaseException] = []

    def ask() -> None:
        while not is_over.is_set():
            try:
                answers.append(answering(manager))
            except BaseException as error:
                errors.append(error)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for version in range(2, 50):
        aspire(manager, version)
        eventually(lambda version=version: states(manager)[version] is State.AVAILABLE)
    is_over.set()
    for asker in askers:
        asker.join()
    assert not errors
    assert len(answers) > 50
