"""The Docker or Podman engine that answers on this machine: how large it is, its images."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.cluster.launchers.docker_command import docker, find_stale, remove_containers
from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_pipelines.engine.machine import Machine, visible_gpus

PROGRAMS = ("docker", "podman")
HOME_LABEL, RUN_LABEL, STEP_LABEL = "trainwright.home", "trainwright.run", "trainwright.step"
_ANSWER_S = 10.0


@dataclass(frozen=True, kw_only=True)
class ContainerEngine:
    """An engine and the machine that it has, which may be a virtual one."""

    program: str
    version: str
    machine: Machine
    is_podman: bool = False
    is_rootless: bool = False

    def __call__(
        self, *arguments: str, timeout_s: float = 60.0, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> str:
        """What `PROGRAM ARGUMENTS` prints.

        Raises:
            InvalidSetting: It fails.
        """
        return docker(*arguments, program=self.program, timeout_s=timeout_s, env=env, stdin=stdin)


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that this machine has."""

    name: str
    id: str
    """Digest of its configuration, and with it of all its layers."""
    folder: str = ""
    """Its working folder; empty where it names none."""


def find_engine() -> ContainerEngine:
    """The first that answers.

    Raises:
        InvalidSetting: None does; the message says why.
    """
    reasons = []
    for program in PROGRAMS:
        if shutil.which(program) is None:
            continue
        try:
            return read_engine(
                program, json.loads(docker("info", "--format", "{{json .}}", program=program, timeout_s=_ANSWER_S))
            )
        except (InvalidSetting, ValueError, KeyError) as error:
            reasons.append(str(error))
    raise InvalidSetting("; ".join(reasons) or "there is neither a docker nor a podman command")


def read_engine(program: str, info: Mapping[str, Any]) -> ContainerEngine:
    """What the command's `info` says of its engine; `docker` may be a name for Podman.

    Fields as in docs.docker.com/reference/api/engine (SystemInfo) and docs.podman.io (podman-info).
    """
    if (host := info.get("host")) is not None:
        return ContainerEngine(
            program=program,
            version=f"Podman {info['version']['Version']}",
            machine=_machine(host["cpus"], host["memTotal"]),
            is_podman=True,
            is_rootless=bool((host.get("security") or {}).get("rootless")),
        )
    if not info.get("ServerVersion"):  # the client alone: it exits with 0 all the same
        raise InvalidSetting("; ".join(info.get("ServerErrors") or ["no engine answers the docker command"]))
    return ContainerEngine(
        program=program,
        version=f"Docker {info['ServerVersion']}",
        machine=_machine(info["NCPU"], info["MemTotal"]),
        is_rootless="name=rootless" in (info.get("SecurityOptions") or ()),
    )


def _machine(cores: float, memory_bytes: int) -> Machine:
    """Both engines hand on the GPUs of NVIDIA that this machine has."""
    return Machine(cores=cores, memory_bytes=memory_bytes, gpus=visible_gpus())


@dataclass(kw_only=True)
class Images:
    """The images of one run, each looked up once, so that all its steps get the same; what is missing is pulled.

    Steps that need the same image wait for one pull, and for none of another image.
    """

    engine: ContainerEngine
    _found: dict[str, Image] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _gate: threading.Lock = field(default_factory=threading.Lock)
    _pulls: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _is_closed: bool = False

    def get(self, name: str, tell: Callable[[str], object], *, step: str, pull_policy: str = "") -> Image:
        """The image of this name for a step; `tell` is given a line when it is pulled, which takes time.

        `pull_policy` is that of Kubernetes (kubernetes.io/docs/concepts/containers/images): `Always` asks the registry
        also for an image that is here, `Never` asks it for none; else what is missing is pulled.

        Raises:
            RunFailed: It is not here and cannot or must not be pulled, or the run was stopped meanwhile.
        """
        with self._gate:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._found:
                found = None if pull_policy == "Always" else self._look_up(name)
                if found is None and pull_policy == "Never":
                    raise RunFailed(
                        f"the image {name!r} is not on this machine, and the pull policy of {step} is Never: build it, "
                        f"or pull it yourself ({self.engine.program} pull {name})"
                    )
                if found is None:
                    tell(f"pulling the image {name}")
                    self._pull_image(name, step, is_missing=pull_policy != "Always")
                    found = self._look_up(name)
                if found is None:
                    raise RunFailed(f"{self.engine.program} pulled the image {name!r} and does not have it")
                self._found[name] = found
            return self._found[name]

    def _look_up(self, name: str) -> Image | None:
        try:
            text = self.engine("image", "inspect", name)  # with a format Podman gives a list, and Docker does not
        except InvalidSetting as error:
            if "no such image" in str(error).lower() or "not known" in str(error).lower():
                return None
            raise RunFailed(f"the image {name!r} cannot be looked up: {error}") from error
        [found] = json.loads(text)
        config = found.get("Config") or {}
        return Image(name=name, id=str(found["Id"]), folder=str(config.get("WorkingDir") or ""))

    def _pull_image(self, name: str, step: str, *, is_missing: bool) -> None:
        with self._gate:
            if self._is_closed:
                raise RunFailed("the run was stopped")
            pull = subprocess.Popen(
                [self.engine.program, "pull", "--quiet", name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is answered by the run
            )
            self._pulls.append(pull)
        with pull:
            _, said = pull.communicate()
        with self._gate:
            self._pulls.remove(pull)
        if pull.returncode:
            lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {pull.returncode}"]
            why = "is not on this machine and cannot" if is_missing else "cannot, as its pull policy Always wants it,"
            raise RunFailed(
                f"the image {name!r} {why} be pulled: {lines[-1]}. Check its name, log "
                f"in to its registry ({self.engine.program} login), build it ({self.engine.program} build -t {name}), "
                f"or run the step as a process of this machine: --isolation {step}=process"
            )

    def close(self) -> None:
        """End the pulls that are under way."""
        with self._gate:
            self._is_closed = True
            for pull in self._pulls:
                if pull.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(pull.pid, signal.SIGKILL)  # a wrapper's program too, whose output is waited for


def remove_containers_of(run_id: str) -> None:
    """Remove what a dead process left of a run; nothing where no engine answers, since then none of them runs."""
    with suppress(InvalidSetting):
        engine = find_engine()
        left = engine("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}={run_id}").split()
        remove_containers(left, program=engine.program)


def find_left_containers(home: Path) -> dict[str, str]:
    """Containers of runs of `home` whose processes are gone, and the programs that know them."""
    found: dict[str, str] = {}
    for program in PROGRAMS:
        if shutil.which(program) is not None:
            with suppress(InvalidSetting):  # no engine answers, so none of them runs
                found |= dict.fromkeys(find_stale(program=program, label=f"{HOME_LABEL}={home}"), program)
    return found
