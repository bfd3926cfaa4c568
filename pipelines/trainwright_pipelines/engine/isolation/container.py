"""Steps as containers: started, waited for, stopped and removed by the command of Docker or Podman."""

import json
import logging
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.cluster.launchers.docker_command import remove_containers
from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.processes.ending import SAVE_S
from trainwright_components.processes.exit_codes import from_shell
from trainwright_pipelines.engine.isolation.brought_out import bring_out
from trainwright_pipelines.engine.isolation.container_engine import ContainerEngine, Images, find_engine
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch
from trainwright_pipelines.engine.isolation.protocol import Isolation, StartedStep, StepEnd
from trainwright_pipelines.ir.resources import format_bytes

_LOG = logging.getLogger(__name__)
_CREATE_S = 600.0
_COPY_S = 3600.0
_REMOVAL_S, _POLL_S = 1.0, 0.1
_NOTHING_THERE = re.compile("could not find the file|could not be found|no such file", re.IGNORECASE)
_NOT_STARTED = ("created", "configured", "initialized")  # whose exit code is 0
_VANISHED = (
    "its container was removed while it ran, by somebody or by a clean-up such as `docker prune`; "
    "go on with the run: trainwright runs resume"
)


@dataclass(kw_only=True)
class Containers:
    """Starts the containers of one run, and removes them all when closed."""

    engine: ContainerEngine = field(default_factory=find_engine)
    _steps: "list[ContainerStep]" = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def __post_init__(self) -> None:
        self.images = Images(engine=self.engine)

    def step(self, launch: Any, *, log: Path, timeout_s: float | None) -> "ContainerStep":
        """A step that has not started yet.

        Raises:
            RunFailed: The run was stopped.
        """
        step = ContainerStep(engine=self.engine, launch=launch, log=log, timeout_s=timeout_s)
        with self._lock:
            if self._is_closed:
                raise RunFailed("the run was stopped")
            self._steps = [*(each for each in self._steps if not each.is_over), step]
        return step

    def close(self) -> None:
        """End all containers, and what is being pulled."""
        with self._lock:
            self._is_closed = True
        self.images.close()
        for step in self._steps:
            if not step.is_over:
                step.abandon()


@dataclass(kw_only=True)
class ContainerStep:
    """The container of one attempt."""

    engine: ContainerEngine
    launch: ContainerLaunch
    log: Path
    timeout_s: float | None
    is_over: bool = False
    _client: "subprocess.Popen[bytes] | None" = None
    _is_stopped: bool = False
    _is_asked: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Create and start the container; nothing if it was stopped before.

        Raises:
            RunFailed: The engine does not create it.
        """
        try:
            self.engine(
                *self.launch.create_arguments(self.engine),
                timeout_s=_CREATE_S,
                env=self.launch.secret_env,
                stdin="".join(f"{name}={value}\n" for name, value in self.launch.client_env.items()),
            )
        except InvalidSetting as error:
            raise RunFailed(f"the step's container cannot be made: {error}") from error
        with self._lock:
            if not self._is_stopped:
                self._client = self._attach("start", "--attach")
        if self._client is None:
            self._remove()

    def _attach(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """A client that writes what the container does to the log, byte by byte, and ends with it."""
        command = [self.engine.program, *arguments, self.launch.name]
        with self.log.open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def wait(self) -> StepEnd:
        """Wait for its end. Only the engine itself is asked how it ended: its client may be killed, or know nothing.

        Raises:
            TimeoutError: It took too long, and was asked to end, or killed.
        """
        if self._client is None:
            return StepEnd(code=-signal.SIGTERM)
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        try:
            while True:
                self._client.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
                state = self._state()
                if not state.get("Running"):
                    return self._end(state)
                self._client = self._attach("attach", "--no-stdin")
        except subprocess.TimeoutExpired as error:  # as a kubelet does it once a pod's activeDeadlineSeconds are over
            self.stop(at_once=False)
            with suppress(subprocess.TimeoutExpired):
                self._client.wait(SAVE_S)
            raise TimeoutError from error
        except InvalidSetting as error:
            is_gone = "no such container" in str(error).lower()
            return StepEnd(code=None, reason=_VANISHED if is_gone else f"its container was lost: {error}")
        finally:
            self._remove()

    def _state(self) -> Mapping[str, Any]:
        [found] = json.loads(self.engine("container", "inspect", self.launch.name))
        state: Mapping[str, Any] = found["State"]
        return state

    def _end(self, state: Mapping[str, Any]) -> StepEnd:
        if state["Status"] in _NOT_STARTED:
            why = state.get("Error") or f"{self.engine.program} start failed, as the log says"
            return StepEnd(code=None, reason=f"its container did not start: {why}")
        code = from_shell(int(state["ExitCode"]))
        if code and state.get("OOMKilled"):
            limit = self.launch.resources.memory_limit_bytes
            why = (
                "this machine has no more"
                if limit is None
                else f"it needed more than its limit of {format_bytes(limit)}; give it a higher one: set_memory_limit"
            )
            return StepEnd(code=code, reason=f"out of memory: {why}")
        if code == -signal.SIGKILL and self._is_removed():
            return StepEnd(code=None, reason=_VANISHED)
        brought = bring_out(self.launch.shared, self._copy_out) if code == 0 and self.launch.shared is not None else {}
        return StepEnd(code=code, image=self.launch.image.name, brought=brought)

    def _copy_out(self, path: str, target: Path) -> bool:
        target.parent.mkdir(exist_ok=True)
        follow = () if self.engine.is_podman else ("--follow-link",)  # Podman always does
        try:
            self.engine("cp", *follow, f"{self.launch.name}:{path}", str(target), timeout_s=_COPY_S)
        except InvalidSetting as error:
            if _NOTHING_THERE.search(str(error)):
                return False
            raise RunFailed(
                f"the step ended well, but its output {path} cannot be copied out of its container: {error}"
            ) from error
        return True

    def _is_removed(self) -> bool:
        """Whether somebody removes it, which kills it first; the engine takes a moment for the rest."""
        deadline = time.monotonic() + _REMOVAL_S
        try:
            while self._state()["Status"] != "removing":
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_S)
        except InvalidSetting:
            pass
        return True

    def stop(self, *, at_once: bool) -> None:
        """Ask it to end, once, since many programs take a second SIGTERM for haste; or kill it.

        Does not wait for the engine.
        """
        with self._lock:
            self._is_stopped = True
            if self._client is None or (self._is_asked and not at_once):
                return
            self._is_asked = True
        arguments = ("rm", "--force", "--volumes") if at_once else ("kill", "--signal", "TERM")
        threading.Thread(target=self._tell_engine, args=(*arguments, self.launch.name), daemon=True).start()

    def _tell_engine(self, *arguments: str) -> None:
        try:
            self.engine(*arguments)
        except InvalidSetting as error:  # it has just ended, or not yet started: the next one comes after the grace
            _LOG.debug("%s", error)

    def abandon(self) -> None:
        """Remove a container that nobody waits for, also one that is only just starting."""
        with self._lock:
            self._is_stopped = True
        self._remove()

    def _remove(self) -> None:
        remove_containers([self.launch.name], program=self.engine.program)
        with self._lock:
            self.is_over = True
            if self._client is not None:
                self._client.kill()
                self._client.wait()


if TYPE_CHECKING:
    _isolation: type[Isolation] = Containers
    _step: type[StartedStep] = ContainerStep
