"""A cluster of Docker containers on a private network of this machine, with the contract that a remote one has too.

A member gets `TF_CONFIG` with the names of the others on the network, and `entry` as its command. The folders that all
share are volumes under the same paths. Containers live as long as the process that started them: their standard input
ends with it.
"""

import logging
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from trainwright_components.cluster.heartbeats import remove_heartbeats
from trainwright_components.cluster.launchers.docker_command import (
    OWNER_LABEL,
    docker,
    docker_version,
    own_label,
    remove_containers,
    remove_stale,
)
from trainwright_components.cluster.launchers.entry import PIPE_VARIABLE, VERSION_VARIABLE
from trainwright_components.cluster.launchers.member_logs import GangOnThisMachine
from trainwright_components.cluster.launchers.protocol import THREADS_VARIABLE, ClusterJob, Gang, Launcher
from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import DEFAULT_PORT, VARIABLE, build_tf_config
from trainwright_components.images import CPU_IMAGE
from trainwright_components.processes.exit_codes import from_shell

logger = logging.getLogger(__name__)

_ENTRY = "trainwright_components.cluster.launchers.entry"
_POLL_S = 0.1
_PASSED_ON = ("TF_CPP_MIN_LOG_LEVEL",)


@dataclass(kw_only=True)
class DockerContainers:
    """Starts members as containers.

    Args:
        mounts: Files and folders that every member may read under their own paths, beside those of the job.
        env: Added to the environment of each member.
        image: For roles whose image is not set.
    """

    mounts: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = CPU_IMAGE

    def __enter__(self) -> Self:
        docker_version()
        for name in remove_stale():
            logger.info("removed %s, whose owner is gone", name)
        return self

    def __exit__(self, *_: object) -> None:
        """Gangs give back what they hold."""

    def start(self, job: ClusterJob) -> Gang:
        """Start every member in a container of its own, on a network of their own.

        Raises:
            InvalidSetting: Docker does not answer, or does not make the network.
        """
        name = f"trainwright-{secrets.token_hex(4)}"
        docker("network", "create", "--label", f"{OWNER_LABEL}={own_label()}", name)
        gang = ContainerGang(job=job, name=name, launcher=self)
        try:
            gang.restart(job.spec.members)
        except BaseException:
            gang.close()
            raise
        return gang


@dataclass(kw_only=True)
class _Container:
    """One `docker run`, which stays until its container has ended and then has its exit code."""

    name: str
    process: "subprocess.Popen[bytes]"


@dataclass(kw_only=True)
class ContainerGang(GangOnThisMachine):
    """One container per member; a member that starts again gets a new one under the same name on the network."""

    name: str
    launcher: DockerContainers
    containers: dict[Member, _Container] = field(default_factory=dict)
    _starts: int = 0

    def restart(self, members: Collection[Member]) -> None:
        """Start members; what still runs of them is removed."""
        self._remove([member for member in members if member in self.containers])
        remove_heartbeats(self.job.folder, members)
        for member in members:
            self._ended.pop(member, None)
            log = self.logs.files.setdefault(member, self.job.log_of(member))
            self._starts += 1
            name = f"{self.name}-{member}-{self._starts}"
            with log.open("ab") as output:
                self.containers[member] = _Container(name=name, process=self._run(name, member, output))

    def _run(self, name: str, member: Member, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        env = {**self.launcher.env, **self.job.env, **self._environment(member)}
        mounts = dict.fromkeys((self.job.folder, *self.job.paths))
        command = ["docker", "run", "--rm", "--init", "--interactive", "--pull", "never", "--name", name]
        command += ["--network", self.name, "--network-alias", self._host(member)]
        command += ["--label", f"{OWNER_LABEL}={own_label()}", "--user", f"{os.getuid()}:{os.getgid()}"]
        command += [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
        command += [part for path in mounts for part in ("--volume", f"{path}:{path}")]
        readable = (*self.launcher.mounts, *map(Path, self.job.spec.mounts))
        command += [part for path in readable for part in ("--volume", f"{path}:{path}:ro")]
        image = self.job.spec.role(member.role).image or self.launcher.image
        command += [image, "python", "-m", _ENTRY, self.job.target, self.job.arguments_as_json()]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )  # a session of its own: Ctrl-C is answered by whoever supervises

    def _environment(self, member: Member) -> dict[str, str]:
        members = self.job.spec.members
        addresses: dict[str, list[str]] = {}
        for one in members:
            addresses.setdefault(one.role, []).append(f"{self._host(one)}:{DEFAULT_PORT}")
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": "/tmp",  # noqa: S108  # inside the container, where the user of this process has no home
            PIPE_VARIABLE: "stdin",
            VERSION_VARIABLE: version("trainwright"),
            VARIABLE: build_tf_config(addresses, member),
            THREADS_VARIABLE: str(self.job.threads),
        }

    def _host(self, member: Member) -> str:
        return f"{member}.{self.name}"

    def wait(self, timeout_s: float) -> Mapping[Member, int]:
        """Wait for the next end, and pass on the members' log lines meanwhile."""
        deadline = time.monotonic() + timeout_s
        before = len(self._ended)
        while True:
            for member, container in self.containers.items():
                code = container.process.poll()
                if code is not None:
                    self._ended.setdefault(member, from_shell(code))
            self.logs.forward()
            is_over = len(self._ended) != before or len(self._ended) == len(self.containers)
            if is_over or time.monotonic() >= deadline:
                return dict(self._ended)
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def send_signal(self, member: Member, number: int) -> None:
        """Send a signal to one member; SIGSTOP pauses its container, whose first process could not pass it on."""
        if self.containers[member].process.poll() is not None:
            return
        action = ("pause",) if number == signal.SIGSTOP else ("kill", "--signal", signal.Signals(number).name)
        docker(*action, self.containers[member].name)

    def terminate(self) -> None:
        """Ask all members to save and end."""
        for member in self.containers:
            self.send_signal(member, signal.SIGTERM)

    def close(self) -> None:
        """Remove all containers and their network."""
        self._remove(list(self.containers))
        self.logs.forward(is_last=True)
        docker("network", "rm", self.name)

    def _remove(self, members: Collection[Member]) -> None:
        running = [self.containers[one] for one in members if self.containers[one].process.poll() is None]
        remove_containers([container.name for container in running])
        for member in members:
            process = self.containers[member].process
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


if TYPE_CHECKING:
    _launcher: type[Launcher] = DockerContainers
    _gang: type[Gang] = ContainerGang
