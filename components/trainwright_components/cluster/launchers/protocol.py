"""What a launcher of clusters does: start members, report how they are. Deadlines and restarts are the supervisor's."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from trainwright_components.cluster.heartbeats import Heartbeat
from trainwright_components.cluster.spec import ClusterSpec, Member

THREADS_VARIABLE = "TRAINWRIGHT_THREADS"  # the share of the machine's cores that a member is given


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """What every member of a cluster runs; each learns its role from `TF_CONFIG`.

    Args:
        target: `package.module:function`; its integer result is the exit code.
        arguments: Keyword arguments as JSON, the same for all members; URIs where members share no file system.
        folder: Where heartbeats and logs go.
        paths: What members read and write beside `folder`, by the paths that their arguments name.
        env: Added to the environment of each member.
    """

    spec: ClusterSpec
    target: str
    arguments: Mapping[str, Any]
    folder: Path
    paths: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def log_of(self, member: Member) -> Path:
        """Where the output of a member goes; its folder is there afterwards."""
        folder = self.folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{member}.log"

    @property
    def threads(self) -> int:
        """The share of this machine's cores that each member has, if all are on it."""
        return max(1, (os.cpu_count() or 1) // len(self.spec.members))

    def arguments_as_json(self) -> str:
        """The arguments as one string, for a command line."""
        return json.dumps(dict(self.arguments))


class Gang(Protocol):
    """The members of a cluster, from the start to `close`."""

    def wait(self, timeout_s: float) -> Mapping[Member, int]:
        """Wait until another member ends, at most `timeout_s` seconds.

        Returns:
            Exit codes of all members that are not running; minus the signal's number if a signal did it.
        """

    def restart(self, members: Collection[Member]) -> None:
        """Restart members under the same addresses, without their old heartbeats; what still runs of them is killed."""

    def heartbeats(self) -> Mapping[Member, Heartbeat]:
        """The last heartbeat of each member that has sent one."""

    def end_of_log(self, member: Member) -> str:
        """The last lines that a member wrote."""

    def send_signal(self, member: Member, number: int) -> None:
        """Send a signal to one member; nothing if it has ended."""

    def terminate(self) -> None:
        """Ask all members to save and end."""

    def close(self) -> None:
        """End what still runs, at once, and give everything back."""


class Launcher(Protocol):
    """Starts clusters; a context manager that gives back what it holds."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Give back what it holds."""

    def start(self, job: ClusterJob) -> Gang:
        """Start every member of `job`; returns at once."""
