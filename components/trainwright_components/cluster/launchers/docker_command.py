"""The `docker` command: calls, whether it is usable, and what earlier processes left behind."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence

import psutil

from trainwright_components.errors import InvalidSetting

OWNER_LABEL = "trainwright.owner"
_TIMEOUT_S = 60.0
_ANSWER_S = 10.0


def docker(*arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
    """What `docker ARGUMENTS` prints.

    Raises:
        InvalidSetting: There is no such command, or it fails.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidSetting(f"docker {arguments[0]}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidSetting(f"docker {' '.join(arguments[:2])}: {lines[-1]}")
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
    return json.dumps([socket.gethostname(), os.getpid(), psutil.Process().create_time()])


def remove_stale() -> list[str]:
    """Remove containers and networks whose owners on this machine are gone; their names."""
    removed = []
    for kind, listing, removing in (
        ("container", ("ps", "--all"), ("rm", "--force")),
        ("network", ("network", "ls"), ("network", "rm")),
    ):
        name_field = "{{.Names}}" if kind == "container" else "{{.Name}}"
        line = f'{name_field}\t{{{{.Label "{OWNER_LABEL}"}}}}'
        for row in docker(*listing, "--filter", f"label={OWNER_LABEL}", "--format", line).splitlines():
            name, _, owner = row.partition("\t")
            if _is_gone(owner):
                docker(*removing, name)
                removed.append(name)
    return removed


def _is_gone(owner: str) -> bool:
    host, pid, created = json.loads(owner)
    if host != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(pid).create_time() != created)
    except psutil.NoSuchProcess:
        return True


def remove_containers(names: Sequence[str]) -> None:
    """Remove containers, running or not; those that are gone already do not count."""
    if names:
        subprocess.run(["docker", "rm", "--force", *names], capture_output=True, timeout=_TIMEOUT_S, check=False)
