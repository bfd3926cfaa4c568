"""The core puts configurations into effect: labels, refusals, models that come and go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.core.server_core import ServerCore
from trainwright_components.model_server.manager.manager import Manager
from trainwright_components.model_server.servable import Loader, OutputOf, Servable, ServableId, State, Tensors
from trainwright_components.model_server.status import Code, StatusError


class Named:
    """A servable that is its path."""

    signatures: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        return {"path": self.path}

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        raise AssertionError("no test asks for several signatures")

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        """Hold nothing."""


class NamedLoader:
    """Loads any path but those called 13."""

    def load(self, servable_id: ServableId, path: Path) -> Named:
        if path.name == "13":
            raise StatusError(Code.DATA_LOSS, "unlucky")
        return Named(path)


if TYPE_CHECKING:
    _: tuple[type[Servable], type[Loader]] = (Named, NamedLoader)


@pytest.fixture
def manager() -> Manager:
    return Manager(NamedLoader(), max_load_retries=0)


@pytest.fixture
def core(manager: Manager) -> Iterator[ServerCore]:
    core = ServerCore(manager, poll_wait_s=0)
    yield core
    core.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
    return tmp_path


def make_config(base: Path, *, labels: dict[str, int] | None = None, name: str = "m") -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    entry = config.model_config_list.config.add(name=name, base_path=str(base), model_platform="tensorflow")
    entry.model_version_policy.all.SetInParent()
    entry.version_labels.update(labels or {})
    return config


def answering(core: ServerCore, label: str = "") -> str:
    with core.handle(model_pb2.ModelSpec(name="m", version_label=label)) as handle:
        path: Path = handle.servable.run("", {}, [])["path"]
        return path.name


def wait_for_all(core: ServerCore, eventually: Callable[..., None]) -> None:
    eventually(lambda: all(state.state is State.AVAILABLE for state in core.states("m")))


def test_labels_stand_for_versions_and_can_be_moved(
    core: ServerCore, base: Path, eventually: Callable[..., None]
) -> None:
    core.reload(make_config(base))
    wait_for_all(core, eventually)
    core.reload(make_config(base, labels={"stable": 1, "canary": 2}))
    assert (answering(core, "stable"), answering(core, "canary"), answering(core)) == ("1", "2", "2")
    core.reload(make_config(base, labels={"stable": 2}))
    assert answering(core, "stable") == "2"
    with pytest.raises(StatusError, match="Unrecognized servable version label: canary"):
        answering(core, "canary")


def test_a_label_for_a_version_that_does_not_answer_is_refused_and_changes_nothing(
    core: ServerCore, base: Path, eventually: Callable[..., None]
) -> None:
    core.reload(make_config(base))
    wait_for_all(core, eventually)
    with pytest.raises(StatusError, match="assign label to version 9 of model m, which is not currently") as refused:
        core.reload(make_config(base, labels={"next": 9}))
    assert refused.value.code is Code.FAILED_PRECONDITION
    assert answering(core) == "2"


def test_new_labels_may_run_ahead_where_that_is_allowed(manager: Manager, base: Path) -> None:
    core = ServerCore(manager, poll_wait_s=0, may_label_unavailable=True)
    try:
        core.reload(make_config(base, labels={"stable": 2}))
        assert answering(core, "stable") == "2"
        with pytest.raises(StatusError, match="not currently available"):
            core.reload(make_config(base, labels={"stable": 9}))
    finally:
        core.close()


def test_an_empty_configuration_waits_for_another_and_never_replaces_one(core: ServerCore, base: Path) -> None:
    empty = model_server_config_pb2.ModelServerConfig()
    core.reload(empty)
    core.reload(make_config(base))
    with pytest.raises(StatusError, match="It is only legal to transition from one ModelConfigList to another") as no:
        core.reload(empty)
    assert no.value.code is Code.FAILED_PRECONDITION
    assert answering(core) == "2"


def test_a_reload_waits_for_new_models_only(core: ServerCore, base: Path, eventually: Callable[..., None]) -> None:
    core.reload(make_config(base))
    for version in ("1", "2"):
        (base / version).rmdir()
    (base / "13").mkdir()
    core.reload(make_config(base))
    assert core.unavailable_models() == []
    eventually(lambda: core.states("m")[0].error_message == "unlucky")


def test_a_model_that_is_no_longer_listed_is_unloaded(
    core: ServerCore, base: Path, eventually: Callable[..., None]
) -> None:
    core.reload(make_config(base))
    core.reload(make_config(base, name="other"))
    eventually(lambda: all(state.state is State.END for state in core.states("m")))


def test_a_model_of_which_no_version_loads_fails_the_reload(core: ServerCore, tmp_path: Path) -> None:
    (tmp_path / "13").mkdir()
    with pytest.raises(StatusError, match=r"1 model\(s\) did not become available: \{.*DATA_LOSS: unlucky"):
        core.reload(make_config(tmp_path))
