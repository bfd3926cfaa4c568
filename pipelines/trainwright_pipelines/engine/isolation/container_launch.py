"""From a container spec to a container: command, variables, mounts, limits. Starts nothing."""

import csv
import io
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from trainwright_components.cluster.launchers.docker_command import OWNER_LABEL, own_label
from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.cache import paths_in
from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.isolation.brought_out import Shared
from trainwright_pipelines.engine.isolation.container_engine import (
    HOME_LABEL,
    RUN_LABEL,
    STEP_LABEL,
    ContainerEngine,
    Image,
)
from trainwright_pipelines.engine.isolation.launch import expand_part, step_variables
from trainwright_pipelines.engine.isolation.python_source import python_source, without_shells
from trainwright_pipelines.engine.platform_settings import PlatformSettings
from trainwright_pipelines.engine.records import Run, Task, Values
from trainwright_pipelines.engine.volumes import Volumes
from trainwright_pipelines.ir.placeholders import Placeholders, local_path
from trainwright_pipelines.ir.resources import Resources, read_resources

_OF_THE_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr")
"""Folders at the top that hold programs: one of this machine would hide the image's own."""
_OF_THE_CLIENT = re.compile(r"DOCKER_|CONTAINER|XDG_|HOME$|PATH$|TMPDIR$|LD_")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A file or folder of this machine in a container."""

    source: Path
    target: str
    is_writable: bool = False

    def __str__(self) -> str:
        """As `--mount` takes it: one line of CSV."""
        fields = ["type=bind", f"source={self.source}", f"target={self.target}"]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(fields if self.is_writable else [*fields, "readonly"])
        return line.getvalue()


@dataclass(frozen=True, kw_only=True)
class ContainerLaunch:
    """One container to start."""

    name: str
    image: Image
    command: Sequence[str]
    args: Sequence[str]
    env: Mapping[str, str]
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Variables from secrets: they are not put on a command line, which everybody on this machine sees."""
    client_env: Mapping[str, str] = field(default_factory=dict)
    """Those of them that the command of the engine would heed itself: it reads them from its standard input."""
    mounts: Sequence[Mount] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """The working folder, where the image names none."""
    resources: Resources = field(default_factory=Resources)
    gpus: Sequence[str] = ()
    """Those that are its own."""
    shared: Shared | None = None
    """What of its outputs this machine sees, where any are read."""
    isolation: ClassVar[str] = "container"

    def create_arguments(self, engine: ContainerEngine) -> list[str]:
        """What `docker create` is given."""
        found = ["create", "--name", self.name, "--init", "--pull", "never", *_as_caller(engine)]
        found += [part for name, value in self.labels.items() for part in ("--label", f"{name}={value}")]
        found += [part for name, value in self.env.items() for part in ("--env", f"{name}={value}")]
        found += [part for name in self.secret_env for part in ("--env", name)]
        found += ["--env-file", "/dev/stdin"] if self.client_env else []
        found += [part for mount in self.mounts for part in ("--mount", str(mount))]
        if self.resources.cpu_limit is not None:
            found += ["--cpus", f"{self.resources.cpu_limit:g}"]
        if (limit := self.resources.memory_limit_bytes) is not None:
            found += ["--memory", str(limit), "--memory-swap", str(limit)]  # as much, so without swap, as a pod
        if self.gpus:
            found += ["--gpus", f'"device={",".join(self.gpus)}"']  # quoted: its value is a line of CSV
        if self.folder is not None:
            found += ["--workdir", str(self.folder)]
        if self.command:
            found += ["--entrypoint", self.command[0]]
        return [*found, self.image.id, *self.command[1:], *self.args]


def _as_caller(engine: ContainerEngine) -> list[str]:
    """Options with which what a container writes belongs to the caller.

    Root in a rootless Docker is the caller (docs.docker.com/engine/security/rootless); a rootless Podman keeps the
    caller's ids when told so, and on machines with SELinux a mount is not readable otherwise (podman-run(1), --userns
    and --security-opt).
    """
    user = ["--user", f"{os.getuid()}:{os.getgid()}"]
    if engine.is_podman:
        keeps_ids = ["--userns", "keep-id"] if engine.is_rootless else []
        return [*keeps_ids, "--security-opt", "label=disable", *user]
    if engine.is_rootless:
        return ["--user", "0:0"]
    groups = [str(group) for group in os.getgroups() if group != os.getgid()]
    return [*user, *(part for group in groups for part in ("--group-add", group))]


def plan_container(
    container: Mapping[str, Any],
    placeholders: Placeholders,
    folder: StepFolder,
    *,
    image: Image,
    run: Run,
    task: Task,
    inputs: Values,
    settings: PlatformSettings,
    home: Path,
    volume_folders: Mapping[str, Path],
    gpus: Sequence[str] = (),
    copies: Mapping[str, Path] = MappingProxyType({}),
) -> ContainerLaunch:
    """The container to start.

    Command and args stand for the image's entry point and command, as in a pod. The container sees the step's own
    folder, the run's workspace, its volumes, and to read only what it takes in, all under their own paths; `copies` of
    artifacts that lie elsewhere are where kfp looks for their addresses.

    Raises:
        RunFailed: A secret cannot be given to it unseen.
    """
    own = {
        "HOME": str(folder.scratch),
        "TMPDIR": str(folder.scratch),
        "PYTHONUNBUFFERED": "1",
        "TRAINWRIGHT_RUN": run.id,
    }
    env = step_variables(container, placeholders, {**own, **settings.env}, {})
    written = [str(each["name"]) for each in container.get("env") or []]
    known = {**settings.env, **{name: env[name] for name in written}}
    heeded = {name for name in settings.given if _OF_THE_CLIENT.match(name)}
    hidden = settings.given.keys() - written - heeded
    unseen = {name: env[name] for name in settings.secret_variables if name in heeded and name not in written}
    if lines := next((name for name, value in unseen.items() if {"\n", "\r"} & set(value)), ""):
        raise RunFailed(
            f"the secret in the variable {lines} has several lines, and with that name it cannot be given to a "
            "container unseen: give the variable a name that does not begin with DOCKER_, CONTAINER, XDG_ or LD_"
        )

    def filled(parts: Iterable[Any]) -> list[str]:
        return placeholders.arguments([expand_part(str(each), known) for each in parts])

    command = list(container.get("command") or [])
    if python_source(container) is not None:
        command = without_shells(command)  # which would not pass SIGTERM on, so that nothing could be saved

    mounts = [
        *plan_mounts(folder, run.folder / "workspace", inputs, volumes=settings.volumes, volume_folders=volume_folders),
        *(Mount(source=copy, target=local_path(uri)) for uri, copy in copies.items()),
    ]
    has_own_folder = image.folder not in ("", "/")
    return ContainerLaunch(
        name=f"trainwright-{re.sub(r'[^a-zA-Z0-9_.-]', '-', task.name)[:60]}-{secrets.token_hex(6)}",
        image=image,
        command=filled(command),
        args=filled(container.get("args") or []),
        env={name: value for name, value in env.items() if name not in hidden and name not in unseen},
        client_env=unseen,
        secret_env={name: value for name, value in env.items() if name in hidden},
        mounts=mounts,
        labels={OWNER_LABEL: own_label(), HOME_LABEL: str(home), RUN_LABEL: run.id, STEP_LABEL: task.path},
        folder=None if has_own_folder else folder.work,
        resources=read_resources(container, placeholders.text),
        gpus=gpus,
        shared=Shared(
            folder=folder,
            work=Path(image.folder) if has_own_folder else folder.work,
            others=[each.source for each in mounts if str(each.source) == each.target],
            volumes=[Path(target) for target in volume_folders],
        ),
    )


def plan_mounts(
    folder: StepFolder, workspace: Path, inputs: Values, *, volumes: Volumes, volume_folders: Mapping[str, Path]
) -> list[Mount]:
    """What a step sees of this machine; only its own folder, the workspace and its volumes can be written."""
    written = [folder.path, workspace]
    taken = [each.path for artifacts in inputs.artifacts.values() for each in artifacts if each.path is not None]
    taken += paths_in(inputs.parameters, volumes)
    read = [each for each in taken if each.exists() and not _hides_the_image(each)]
    read = [each for each in read if not any(each.is_relative_to(above) for above in written)]
    outermost = [each for each in dict.fromkeys(read) if not any(other in each.parents for other in read)]
    return [
        *(Mount(source=each, target=str(each)) for each in outermost),
        *(Mount(source=each, target=str(each), is_writable=True) for each in written),
        *(
            Mount(source=each, target=target, is_writable=target not in volumes.files)
            for target, each in volume_folders.items()
        ),
    ]


def _hides_the_image(path: Path) -> bool:
    _, *parts = path.parts
    return not parts or parts[0] in _OF_THE_SYSTEM or parts in (["opt"], ["tmp"], ["var"])
