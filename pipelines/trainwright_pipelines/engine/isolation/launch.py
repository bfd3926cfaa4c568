"""From a container spec to what is started for it on this machine."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from trainwright_components.errors import InvalidPipeline, RunFailed
from trainwright_components.images import is_logical
from trainwright_components.processes.warm_parent import SOCKET_VARIABLE
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS
from trainwright_pipelines.engine.contract import QUIET_VARIABLE, StepFolder
from trainwright_pipelines.engine.isolation.expansion import expand
from trainwright_pipelines.engine.isolation.light_parent import ENTRY
from trainwright_pipelines.engine.isolation.python_source import python_source
from trainwright_pipelines.engine.own_python import OwnPython
from trainwright_pipelines.engine.volumes import replace_mounts
from trainwright_pipelines.ir.placeholders import STRUCTURES, Placeholders

_READ_AT_START = re.compile(r"PYTHON|LD_|DYLD_|LC_|MALLOC_|GLIBC_|OPENSSL_|(LANG|HOME)$")
"""Variables that the loader, the C library, OpenSSL or Python read before any line of a program runs."""
_OF_EVERY_STEP = {
    "PYTHONSAFEPATH": "1",  # else a folder of the user's, such as ./components, hides the installed package
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process to start."""

    target: str
    arguments: Any
    """Keyword arguments of a function, or the words of a program."""
    env: Mapping[str, str]
    cwd: Path
    is_warm: bool = False
    """Whether it is forked from a process that has imported TensorFlow."""
    isolation: ClassVar[str] = "process"


def plan_launch(
    container: Mapping[str, Any],
    placeholders: Placeholders,
    folder: StepFolder,
    *,
    extra_env: Mapping[str, str],
    python: OwnPython,
    in_warm_process: bool = True,
    mounts: Mapping[str, Path] | None = None,
) -> Launch:
    """The process to start for a container.

    `extra_env` are variables that the platform settings give, `mounts` folders in place of mount paths; `python` is the
    step's own. Without `in_warm_process` all get fresh processes.

    Raises:
        InvalidPipeline: It cannot be run without its image.
        RunFailed: Its program is not on this machine.
    """
    image = placeholders.text(str(container.get("image") or ""))
    mounts = mounts or {}
    base = {**_OF_EVERY_STEP, "TMPDIR": str(folder.scratch), **python.env, **extra_env}
    env = step_variables(container, placeholders, base, mounts)
    known = {**extra_env, **{str(each["name"]): env[str(each["name"])] for each in container.get("env") or []}}
    source = python_source(container)
    if source is not None:
        folder.source.write_text(expand(replace_mounts(source.source, mounts), known))
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
        command = [str(python.program), "-P", "-m", ENTRY, *flags]
        env |= {"_KFP_RUNTIME": "true"}
        if is_logical(image):
            env |= {LEVEL_VARIABLE: env.get(LEVEL_VARIABLE, WARNINGS_AND_LESS), QUIET_VARIABLE: "1"}
        elif in_warm_process and python.can_be_adopted and not _is_too_late(env, python.env):
            return Launch(target=ENTRY, arguments=flags, env={**env, SOCKET_VARIABLE: ""}, cwd=folder.work)
        return _fresh(command, env, folder)
    parts = [*(container.get("command") or []), *(container.get("args") or [])]
    # Before anything is filled in: a folder of ours may itself lie below a mount path, such as /tmp.
    command = placeholders.arguments([expand_part(replace_mounts(str(part), mounts), known) for part in parts])
    if not container.get("command"):
        raise InvalidPipeline(
            f"the step relies on the entry point of its image {image!r}, which only a container has: run it with "
            "--isolation container, or give the component a command"
        )
    if shutil.which(command[0], path=env["PATH"]) is None:
        raise RunFailed(
            f"the step's program {command[0]!r} is not on this machine: the step runs as a process, not in its image "
            f"{image!r}; install the program, or run the step with --isolation container"
        )
    return _fresh(command, env, folder)


def _is_too_late(env: Mapping[str, str], adopted: Mapping[str, str]) -> bool:
    """Whether a process that is forked from one that runs already would not heed some of its variables."""
    heeded = {**os.environ, **_OF_EVERY_STEP, **adopted}
    return any(_READ_AT_START.match(name) and value != heeded.get(name) for name, value in env.items())


def _fresh(command: Sequence[str], env: Mapping[str, str], folder: StepFolder) -> Launch:
    return Launch(
        target=f"{ENTRY}:run_command",
        arguments={"command": list(command)},
        env={**env, SOCKET_VARIABLE: ""},
        cwd=folder.work,
    )


def expand_part(part: str, variables: Mapping[str, str]) -> str:
    """A part of a command with its variables filled, which is JSON where it is a Concat or an IfPresent."""
    if part.startswith(STRUCTURES):
        variables = {name: json.dumps(value)[1:-1] for name, value in variables.items()}
    return expand(part, variables)


def step_variables(
    container: Mapping[str, Any], placeholders: Placeholders, base: Mapping[str, str], mounts: Mapping[str, Path]
) -> dict[str, str]:
    """The variables of `base`, and those of the container, each of which may name those before it."""
    own: dict[str, str] = {}
    for each in container.get("env") or []:
        value = placeholders.text(replace_mounts(str(each.get("value") or ""), mounts))
        own[str(each["name"])] = expand(value, own)
    return {**base, **own}
