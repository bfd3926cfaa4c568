"""From a container spec to what is started for it on this machine."""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidPipeline, RunFailed
from trainwright_components.images import is_logical
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS
from trainwright_pipelines.engine.contract import QUIET_VARIABLE, StepFolder
from trainwright_pipelines.engine.isolation.python_source import python_source
from trainwright_pipelines.engine.volumes import replace_mounts
from trainwright_pipelines.ir.placeholders import Placeholders

ENTRY = "trainwright_pipelines.engine.task_entry"
"""Not imported here: it reaches TensorFlow, inside the task's own process."""
_VARIABLE = re.compile(r"\$(\$\([A-Za-z_][A-Za-z0-9_]*\))|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process to start."""

    target: str
    arguments: Mapping[str, Any]
    env: Mapping[str, str]
    cwd: Path
    is_warm: bool = False


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
            target = f"{ENTRY}:run_component"
            return Launch(target=target, arguments=arguments, env=env, cwd=folder.work, is_warm=True)
        flags = [text for name, value in arguments.items() for text in (f"--{name}", value)]
        command = [str(python or sys.executable), "-P", "-m", ENTRY, *flags]
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
        target=f"{ENTRY}:run_command",
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
