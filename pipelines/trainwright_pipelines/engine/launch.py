"""From a container spec to a process on this machine.

Our own components run in warm children, everything else in fresh processes.
"""

import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidPipeline, RunFailed
from trainwright_components.images import is_logical
from trainwright_components.processes.child import WarmChild
from trainwright_components.processes.warm_parent import (
    DEFAULT_PRELOAD,
    SOCKET_VARIABLE,
    WarmParent,
    WarmParentLost,
)
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS
from trainwright_pipelines.engine.contract import QUIET_VARIABLE, StepFolder
from trainwright_pipelines.engine.volumes import replace_mounts
from trainwright_pipelines.ir.placeholders import Placeholders

_EXECUTOR_MODULE = re.compile(r"\bkfp\.[\w.]*executor_main\b")  # its package has moved over the years
_ENTRY = f"{__package__}.task_entry"  # not imported here: it reaches TensorFlow, inside the task's own process
_FUNCTION_FLAG = "--function_to_execute"
_VARIABLE = re.compile(r"\$(\$\([A-Za-z_][A-Za-z0-9_]*\))|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process to start."""

    target: str
    arguments: Mapping[str, Any]
    env: Mapping[str, str]
    cwd: Path
    is_warm: bool = False


@dataclass(frozen=True, kw_only=True)
class PythonSource:
    """A lightweight component: the code of its function, and the function's name."""

    source: str
    function: str


def python_source(container: Mapping[str, Any]) -> PythonSource | None:
    """The function of a lightweight Python component; None for any other container."""
    command, args = container.get("command") or [], container.get("args") or []
    if _FUNCTION_FLAG not in args[:-1] or len(command) < 2 or not _EXECUTOR_MODULE.search(str(command[-2])):
        return None
    return PythonSource(source=command[-1], function=args[args.index(_FUNCTION_FLAG) + 1])


def is_python(container: Mapping[str, Any]) -> bool:
    """Whether a container runs a Python component, lightweight or with its code in the image."""
    return any(_EXECUTOR_MODULE.search(str(part)) for part in container.get("command") or [])


def plan_launch(
    container: Mapping[str, Any],
    placeholders: Placeholders,
    folder: StepFolder,
    *,
    extra_env: Mapping[str, str],
    python: Path | None = None,
    in_warm_process: bool = True,
    mounts: Mapping[str, Path] | None = None,
) -> Launch:
    """The process to start for a container.

    `extra_env` are variables that the platform settings give, `mounts` folders in place of mount paths; `python` is an
    interpreter with the packages that the component asks for, by default this one. Without `in_warm_process` our own
    components get fresh processes too.

    Raises:
        InvalidPipeline: It cannot be run without its image.
        RunFailed: Its program is not on this machine.
    """
    image = placeholders.text(str(container.get("image") or ""))
    mounts = mounts or {}
    env = _environment(container, placeholders, folder, extra_env, mounts)
    source = python_source(container)
    if source is not None:
        folder.source.write_text(replace_mounts(source.source, mounts))
        arguments = {
            "source": str(folder.source),
            "function": source.function,
            "executor_input": str(folder.executor_input),
            "report": str(folder.report),
        }
        if in_warm_process and is_logical(image):
            target = f"{_ENTRY}:run_component"
            return Launch(target=target, arguments=arguments, env=env, cwd=folder.work, is_warm=True)
        flags = [text for name, value in arguments.items() for text in (f"--{name}", value)]
        command = [str(python or sys.executable), "-P", "-m", _ENTRY, *flags]
        env |= {"_KFP_RUNTIME": "true"}
        if is_logical(image):
            env |= {LEVEL_VARIABLE: env.get(LEVEL_VARIABLE, WARNINGS_AND_LESS), QUIET_VARIABLE: "1"}
        return _fresh(command, env, folder)
    parts = [*(container.get("command") or []), *(container.get("args") or [])]
    # Before anything is filled in: a folder of ours may itself lie below a mount path, such as /tmp.
    command = placeholders.arguments([replace_mounts(str(part), mounts) for part in parts])
    if not container.get("command"):
        raise InvalidPipeline(
            f"the step relies on the entry point of its image {image!r}, which only a container has; "
            "give the component a command"
        )
    if shutil.which(command[0], path=env["PATH"]) is None:
        raise RunFailed(
            f"the step's program {command[0]!r} is not on this machine: steps run here as processes, not in their "
            f"image {image!r}; install the program, or run on a target with containers"
        )
    return _fresh(command, env, folder)


def _fresh(command: Sequence[str], env: Mapping[str, str], folder: StepFolder) -> Launch:
    return Launch(
        target=f"{_ENTRY}:run_command",
        arguments={"command": list(command)},
        env={**env, SOCKET_VARIABLE: ""},
        cwd=folder.work,
    )


def _environment(
    container: Mapping[str, Any],
    placeholders: Placeholders,
    folder: StepFolder,
    extra_env: Mapping[str, str],
    mounts: Mapping[str, Path],
) -> dict[str, str]:
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONSAFEPATH": "1",  # else a folder of the user's, such as ./components, hides the installed package
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder.scratch),
        **extra_env,
    }
    for each in container.get("env") or []:
        value = placeholders.text(replace_mounts(str(each.get("value") or ""), mounts))
        env[str(each["name"])] = _expand(value, {**os.environ, **env})
    return env


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes fills it; `$$(NAME)` and unknown names stay."""
    return _VARIABLE.sub(lambda match: match[1] or variables.get(match[2], match[0]), text)


def _spawn(parent: WarmParent, launch: Launch, log: Path) -> WarmChild:
    return parent.spawn(launch.target, launch.arguments, env=launch.env, cwd=launch.cwd, log=log)


@dataclass(kw_only=True)
class Processes:
    """Starts the processes of one run, and ends them all when closed."""

    preload: Sequence[str] = DEFAULT_PRELOAD
    _parents: dict[bool, WarmParent] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def start(self, launch: Launch, *, log: Path) -> WarmChild:
        """Start a process; the first warm one waits for the imports."""
        parent = self._parent(launch.is_warm)
        try:
            return _spawn(parent, launch, log)
        except WarmParentLost:  # killed, perhaps for want of memory: once more from a new one
            self._forget(parent)
            return _spawn(self._parent(launch.is_warm), launch, log)

    def _forget(self, parent: WarmParent) -> None:
        with self._lock:
            self._parents = {kind: each for kind, each in self._parents.items() if each is not parent}
        parent.close()

    def _parent(self, is_warm: bool) -> WarmParent:
        with self._lock:
            if self._is_closed:
                raise RunFailed("the run was stopped")
            if is_warm not in self._parents:
                self._parents[is_warm] = WarmParent.start(self.preload if is_warm else (_ENTRY,))
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


@dataclass(kw_only=True)
class StepProcess:
    """The process of one attempt, that another thread waits for, and that can be stopped meanwhile."""

    processes: Processes
    launch: Launch
    log: Path
    timeout_s: float | None
    child: WarmChild | None = None
    _is_stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> int | None:
        """Start the process and give its id; None if it was stopped before. Blocks while warm imports go on."""
        child = self.processes.start(self.launch, log=self.log)
        with self._lock:
            self.child = child
            if not self._is_stopped:
                return child.pid
        child.close()
        return None

    def wait(self) -> int:
        """The exit code.

        Raises:
            TimeoutError: It took too long, and was killed.
        """
        if self.child is None:
            return -15
        try:
            return self.child.wait(self.timeout_s)
        finally:
            self.child.close()

    def abandon(self) -> None:
        """End a process that nobody waits for, also one that is only just starting."""
        with self._lock:
            self._is_stopped = True
            if self.child is not None:
                self.child.close()

    def stop(self, *, at_once: bool) -> None:
        """Ask the process to end, or kill it."""
        with self._lock:
            self._is_stopped = True
            if self.child is not None:
                self.child.kill() if at_once else self.child.terminate()
