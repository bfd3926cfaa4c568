"""Steps as processes of this machine: our own components in warm children, everything else in fresh processes."""

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import RunFailed
from trainwright_components.processes.child import WarmChild
from trainwright_components.processes.ending import SAVE_S
from trainwright_components.processes.warm_parent import DEFAULT_PRELOAD, WarmParent, WarmParentLost
from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.light_parent import ENTRY, start_light_parent
from trainwright_pipelines.engine.isolation.protocol import Isolation, StartedStep, StepEnd

_MOST_BYTES = 107 - len("/pymp-12345678/listener-12345678")  # sun_path of Linux, without the zero at its end
_LOST_PARENT = (
    "the process that starts the steps of this run was killed, or was stopped by a signal and then killed, and this "
    "step ended with it; if nobody did that, memory ran out. Go on with the run: trainwright runs resume"
)


def _spawn(parent: WarmParent, launch: Launch, log: Path) -> WarmChild:
    env = dict(launch.env)
    scratch = str(StepFolder(launch.cwd.parent).scratch)
    if env.get("TMPDIR") == scratch:
        env["TMPDIR"] = _short_way(scratch, parent.address.parent)
    return parent.spawn(launch.target, launch.arguments, env=env, cwd=launch.cwd, log=log)


def _short_way(scratch: str, place: Path) -> str:
    """A path of a step's folder for temporary files by which a Unix socket in it has a path that the kernel takes.

    `multiprocessing` puts the sockets of its managers and of its fork server there. The way is a link in `place`.
    """
    way = place / hashlib.sha256(os.fsencode(scratch)).hexdigest()[:16]
    if len(os.fsencode(scratch)) <= _MOST_BYTES or len(os.fsencode(way)) > _MOST_BYTES:
        return scratch
    with contextlib.suppress(FileExistsError):
        way.symlink_to(scratch)
    return str(way)


@dataclass(kw_only=True)
class Processes:
    """Starts the processes of one run, and ends them all when closed."""

    preload: Sequence[str] = DEFAULT_PRELOAD
    needs_warm: bool = False
    """Whether steps of the run need TensorFlow: its imports then begin when the first step of any kind does."""
    _parents: dict[bool, WarmParent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def start(self, launch: Launch, *, log: Path) -> WarmChild:
        """Start a process; the first warm one waits for the imports."""
        if self.needs_warm and not launch.is_warm:
            self._parent(is_warm=True)
        parent = self._parent(launch.is_warm)
        try:
            return _spawn(parent, launch, log)
        except WarmParentLost:  # killed, perhaps for want of memory: once more from a new one
            self._forget(parent)
            return _spawn(self._parent(launch.is_warm), launch, log)

    def adopt(self, light_parent: WarmParent) -> None:
        """Take on a process that was started before the run, and end it with the others."""
        with self._lock:
            self._parents[False] = light_parent

    def step(self, launch: Any, *, log: Path, timeout_s: float | None) -> "StepProcess":
        """A step that has not started yet."""
        return StepProcess(processes=self, launch=launch, log=log, timeout_s=timeout_s)

    def _forget(self, parent: WarmParent) -> None:
        with self._lock:
            self._parents = {kind: each for kind, each in self._parents.items() if each is not parent}
        parent.close()

    def _parent(self, is_warm: bool) -> WarmParent:
        with self._lock:
            if self._is_closed:
                raise RunFailed("the run was stopped")
            if is_warm not in self._parents:
                self._parents[is_warm] = WarmParent.start(self.preload) if is_warm else start_light_parent()
            return self._parents[is_warm]

    def end_frozen(self) -> None:
        """Kill a warm process that somebody has stopped, for which steps would wait for ever."""
        with self._lock:
            parents = list(self._parents.values())
        for parent in parents:
            parent.end_if_frozen()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._is_closed = True
            for parent in self._parents.values():
                parent.close()
            self._parents.clear()


def run_command(processes: Processes, command: Sequence[str], env: Mapping[str, str], log: Path) -> int:
    """Run a command beside the steps of a run; gives its exit code.

    Raises:
        RunFailed: The run was stopped meanwhile.
    """
    launch = Launch(target=f"{ENTRY}:run_command", arguments={"command": [*command]}, env=env, cwd=Path.cwd())
    with processes.start(launch, log=log) as child:
        code = child.wait()
    if child.lost_parent:
        raise RunFailed(_LOST_PARENT)
    return code


@dataclass(kw_only=True)
class StepProcess:
    """The process of one attempt, that another thread waits for, and that can be stopped meanwhile."""

    processes: Processes
    launch: Launch
    log: Path
    timeout_s: float | None
    child: WarmChild | None = None
    _is_stopped: bool = False
    _is_asked: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> int | None:
        """Start the process and give its id; None if it was stopped before. Blocks while warm imports go on."""
        with self._lock:
            is_stopped = self._is_stopped
        if is_stopped:
            return None
        child = self.processes.start(self.launch, log=self.log)
        with self._lock:
            self.child = child
            if not self._is_stopped:
                return child.pid
        child.close()
        return None

    def wait(self) -> StepEnd:
        """Wait for its end.

        Raises:
            TimeoutError: It took too long, and was asked to end, or killed.
        """
        if self.child is None:
            return StepEnd(code=-signal.SIGTERM)
        try:
            try:
                code = self.child.wait(self.timeout_s)
            except TimeoutError:  # as a kubelet does it once a pod's activeDeadlineSeconds are over
                self._end(self.child)
                raise
        finally:
            self.child.close()
        if self.child.lost_parent:
            return StepEnd(code=None, reason=_LOST_PARENT)
        return StepEnd(code=code, peak_memory_bytes=self.child.peak_memory_bytes, cpu_s=self.child.cpu_s)

    def _end(self, child: WarmChild) -> None:
        self.stop(at_once=False)
        try:
            child.wait(SAVE_S)
        except TimeoutError:
            self.stop(at_once=True)
            child.wait()

    def abandon(self) -> None:
        """End a process that nobody waits for, also one that is only just starting."""
        with self._lock:
            self._is_stopped = True
            if self.child is not None:
                self.child.close()

    def stop(self, *, at_once: bool) -> None:
        """Ask the process to end, once, since many programs take a second SIGTERM for haste; or kill it."""
        with self._lock:
            self._is_stopped = True
            if self.child is None:
                return
            if at_once:
                self.child.kill()
            elif not self._is_asked:
                self._is_asked = True
                self.child.terminate()


if TYPE_CHECKING:
    _isolation: type[Isolation] = Processes
    _step: type[StartedStep] = StepProcess
