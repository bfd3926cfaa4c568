"""What every isolation promises of a step that it starts."""

import contextlib
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster.launchers.docker_command import OWNER_LABEL, own_label
from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.isolation import ISOLATIONS
from trainwright_pipelines.engine.isolation.container import Containers
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch, Mount
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.light_parent import ENTRY
from trainwright_pipelines.engine.isolation.of_a_run import Isolations
from trainwright_pipelines.engine.isolation.process import Processes
from trainwright_pipelines.engine.isolation.protocol import Isolation, StartedStep

SAYS_AND_WAITS = "import pathlib, signal; pathlib.Path('{fifo}').open('w').close(); signal.pause()"


class IsolationContract(ABC):
    """Run by each isolation's own test class, which says how to make one and what starts a program in it."""

    @pytest.fixture
    @abstractmethod
    def isolation(self, request: pytest.FixtureRequest) -> Iterator[Isolation]: ...

    @abstractmethod
    def launch(self, program: str, folder: Path, isolation: Any) -> Any:
        """What runs a line of Python, which may write below `folder`."""

    def step(self, program: str, folder: Path, isolation: Isolation, *, timeout_s: float | None = None) -> StartedStep:
        return isolation.step(self.launch(program, folder, isolation), log=folder / "log", timeout_s=timeout_s)

    def test_it_ends_with_its_code_and_every_byte_that_it_wrote(self, isolation: Isolation, tmp_path: Path) -> None:
        text = bytes(range(256)) * 1000
        program = "import os, sys; os.write(1, bytes(range(256)) * 1000); os.write(2, b'last'); sys.exit(7)"
        step = self.step(program, tmp_path, isolation)
        step.start()
        ended = step.wait()
        assert (ended.code, ended.reason) == (7, "")
        content = (tmp_path / "log").read_bytes()
        assert len(content) == len(text) + 4
        assert content.replace(b"last", b"") == text

    def test_one_that_is_stopped_before_it_starts_never_runs(self, isolation: Isolation, tmp_path: Path) -> None:
        step = self.step(f"open('{tmp_path}/ran', 'w')", tmp_path, isolation)
        step.stop(at_once=False)
        assert step.start() is None
        assert step.wait().code == -signal.SIGTERM
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("at_once", [False, True])
    def test_one_that_runs_can_be_stopped(self, isolation: Isolation, fifo: Any, tmp_path: Path, at_once: bool) -> None:
        step = self.step(SAYS_AND_WAITS.format(fifo=fifo.path), tmp_path, isolation)
        step.start()
        fifo.wait()
        step.stop(at_once=at_once)
        assert step.wait().code in {-signal.SIGKILL, -signal.SIGTERM, 143, None}

    def test_one_that_takes_too_long_is_ended(self, isolation: Isolation, fifo: Any, tmp_path: Path) -> None:
        step = self.step(SAYS_AND_WAITS.format(fifo=fifo.path), tmp_path, isolation, timeout_s=0.05)
        step.start()
        fifo.wait()
        with pytest.raises(TimeoutError):
            step.wait()

    def test_nothing_starts_once_it_is_closed(self, isolation: Isolation, tmp_path: Path) -> None:
        isolation.close()
        with pytest.raises(RunFailed, match="the run was stopped"):
            self.step("pass", tmp_path, isolation).start()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """One process for all to be forked from, which takes a moment to start."""
    with contextlib.closing(Processes()) as processes:
        yield processes


class TestProcesses(IsolationContract):
    @pytest.fixture
    def isolation(self, request: pytest.FixtureRequest, processes: Processes) -> Iterator[Isolation]:
        if "closed" in request.node.name:
            yield Processes()
        else:
            yield processes

    def launch(self, program: str, folder: Path, isolation: Any) -> Launch:
        command = [sys.executable, "-c", program]
        return Launch(target=f"{ENTRY}:run_command", arguments={"command": command}, env={}, cwd=folder)


@pytest.mark.slow
class TestContainers(IsolationContract):
    @pytest.fixture
    def isolation(self, request: pytest.FixtureRequest, base_image: str) -> Iterator[Isolation]:
        with contextlib.closing(Containers()) as containers:
            self.image = containers.images.get(base_image, print, step="step")
            yield containers

    def launch(self, program: str, folder: Path, isolation: Any) -> ContainerLaunch:
        mounts: Sequence[Mount] = [Mount(source=folder, target=str(folder), is_writable=True)]
        return ContainerLaunch(
            name=f"trainwright-contract-{folder.name}",
            image=self.image,
            command=["python3"],
            args=["-c", program],
            env={},
            mounts=mounts,
            labels={OWNER_LABEL: own_label()},
        )


def test_the_contract_is_run_over_all_isolations() -> None:
    tested = {each.__name__.removeprefix("Test") for each in IsolationContract.__subclasses__()}
    assert tested == {name.partition(":")[2] for name in ISOLATIONS.values()}


def test_an_engine_that_is_gone_when_a_run_is_resumed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with contextlib.closing(Isolations()) as isolations:
        with pytest.raises(RunFailed, match="no container engine answers: there is neither"):
            isolations.get("container")
        assert isinstance(isolations.get("process"), Processes)
