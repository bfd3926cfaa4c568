"""Heartbeats: the phase and step of each member, one small file per member in a folder that all of them share."""

import contextlib
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.files import write_whole

HEARTBEATS_FOLDER = "heartbeats"
JOINING, JOINED, TRAINING, SAVING, FINISHING = "joining", "joined", "training", "saving", "finishing"
_LEAST_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a member.

    Args:
        phase: `joining` while it waits for the others; any later phase means that it has reached all of them.
        step: Optimizer steps taken.
    """

    phase: str
    step: int
    age_s: float

    @property
    def has_joined(self) -> bool:
        """Whether the member has reached all others."""
        return self.phase != JOINING


class SendHeartbeat(Protocol):
    """Tells whoever watches over the members what this one is phase."""

    def __call__(self, phase: str = ..., step: int = ...) -> None:
        """Send it; `phase` is one of the constants above."""


@dataclass(kw_only=True)
class HeartbeatFile:
    """Writes the heartbeats of a member; one of the same phase within a second of the last is dropped."""

    folder: Path
    member: Member
    _last_phase: str = ""
    _last_s: float = field(default_factory=time.monotonic)

    def __call__(self, phase: str = JOINED, step: int = 0) -> None:
        if phase == self._last_phase and time.monotonic() - self._last_s < _LEAST_S:
            return
        self._last_phase, self._last_s = phase, time.monotonic()
        file = self.folder / HEARTBEATS_FOLDER / str(self.member)
        with contextlib.suppress(OSError):  # on a full disk, writing the checkpoint reports the error
            write_whole(file, json.dumps({"phase": phase, "step": step}), is_durable=False)


def read_heartbeats(folder: Path, spec: ClusterSpec) -> Mapping[Member, Heartbeat]:
    """The last heartbeat of each member that has sent one."""
    files = {member: folder / HEARTBEATS_FOLDER / str(member) for member in spec.members}
    return {member: _read(file) for member, file in files.items() if file.exists()}


def remove_heartbeats(folder: Path, members: Collection[Member]) -> None:
    """Remove the heartbeats of members that are about to restart."""
    for member in members:
        (folder / HEARTBEATS_FOLDER / str(member)).unlink(missing_ok=True)


def _read(file: Path) -> Heartbeat:
    content = json.loads(file.read_text())
    return Heartbeat(phase=content["phase"], step=content["step"], age_s=time.time() - file.stat().st_mtime)


if TYPE_CHECKING:
    _send: type[SendHeartbeat] = HeartbeatFile
