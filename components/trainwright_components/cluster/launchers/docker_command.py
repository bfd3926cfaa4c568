"""The `docker` command, or `podman`, which takes the same: calls, whether it is usable, and what was left behind."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence

from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.identity import is_same_process, start_of

OWNER_LABEL = "trainwright.owner"
_TIMEOUT_S = 60.0
_ANSWER_S = 10.0


def docker(
    *arguments: str,
    timeout_s: float = _TIMEOUT_S,
    program: str = "docker",
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> str:
    """What `docker ARGUMENTS` prints, with `env` over this process's environment.

    Raises:
        InvalidSetting: There is no such command, or it fails.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            input=stdin,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidSetting(f"{program} {arguments[0]} takes longer than {timeout_s:g} s") from error
    except OSError as error:
        raise InvalidSetting(f"{program} {arguments[0]}: {error.strerror or error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidSetting(f"{program} {' '.join(arguments[:2])}: {lines[-1]}")
    return done.stdout.strip()


def docker_version() -> str:
    """The version of the daemon that answers.

    Raises:
        InvalidSetting: None does; the message says why and what to do.
    """
    if shutil.which("docker") is None:
        raise InvalidSetting("there is no docker command; install Docker, or use the launcher local")
    try:
        return docker("version", "--format", "{{.Server.Version}}", timeout_s=_ANSWER_S)
    except InvalidSetting as error:
        raise InvalidSetting(f"no Docker daemon answers ({error}); start it, or use the launcher local") from error


def own_label() -> str:
    """Host, process id and start of this process, so that others can tell whether it is gone."""
    return json.dumps([socket.gethostname(), os.getpid(), start_of(os.getpid())])


def remove_stale() -> list[str]:
    """Remove containers and networks whose owners on this machine are gone; their names."""
    stale = [(kind, name) for kind in _REMOVALS for name in find_stale(kind)]
    for kind, name in stale:
        docker(*_REMOVALS[kind], name)
    return [name for _, name in stale]


_LISTINGS = {"container": ("ps", "--all"), "network": ("network", "ls")}
_REMOVALS = {"container": ("rm", "--force"), "network": ("network", "rm")}


def find_stale(kind: str = "container", *, program: str = "docker", label: str = OWNER_LABEL) -> list[str]:
    """Names of the containers, or networks, with `label` whose owners on this machine are gone."""
    name_field = "{{.Names}}" if kind == "container" else "{{.Name}}"
    line = f'{name_field}\t{{{{.Label "{OWNER_LABEL}"}}}}'
    rows = docker(*_LISTINGS[kind], "--filter", f"label={label}", "--format", line, program=program).splitlines()
    owners = [row.partition("\t") for row in rows]
    return [name for name, _, owner in owners if _is_gone(owner)]


def _is_gone(owner: str) -> bool:
    host, pid, created = json.loads(owner)
    return host == socket.gethostname() and not is_same_process(pid, created)


def remove_containers(names: Sequence[str], *, program: str = "docker") -> None:
    """Remove containers, running or not, with the volumes that only they have; those that are gone do not count.

    Where the engine does not answer they stay, for `remove_stale` or `trainwright gc`.
    """
    if names:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [program, "rm", "--force", "--volumes", *names], capture_output=True, timeout=_TIMEOUT_S, check=False
            )
