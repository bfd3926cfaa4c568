"""What members leave in the folder of their job: logs, followed as one while they grow, and heartbeats."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainwright_components.cluster.heartbeats import Heartbeat, read_heartbeats
from trainwright_components.cluster.launchers.protocol import ClusterJob
from trainwright_components.cluster.spec import Member

logger = logging.getLogger(__name__)

_LAST_BYTES = 4000


@dataclass(kw_only=True)
class MemberLogs:
    """Follows one file per member; `forward` writes new whole lines to the log of this process."""

    files: dict[Member, Path]
    _read: dict[Member, int] = field(default_factory=dict)

    def forward(self, *, is_last: bool = False) -> None:
        """Pass on what was written since the last call."""
        for member, file in self.files.items():
            done = self._read.get(member, 0)
            if not file.is_file():
                continue
            with file.open("rb") as stream:
                stream.seek(done)
                new = stream.read()
            end = len(new) if is_last else new.rfind(b"\n") + 1
            self._read[member] = done + end
            for line in new[:end].decode(errors="replace").splitlines():
                logger.info("[%s] %s", member, line)

    def end_of(self, member: Member) -> str:
        """The last lines of a member's log."""
        file = self.files.get(member)
        if file is None or not file.is_file():
            return ""
        return file.read_bytes()[-_LAST_BYTES:].decode(errors="replace").strip()


@dataclass(kw_only=True)
class GangOnThisMachine:
    """What gangs have in common whose members write into the folder of their job as it lies here."""

    job: ClusterJob
    logs: MemberLogs = field(default_factory=lambda: MemberLogs(files={}))
    _ended: dict[Member, int] = field(default_factory=dict)

    def heartbeats(self) -> Mapping[Member, Heartbeat]:
        """The last heartbeat of each member that has given one."""
        return read_heartbeats(self.job.folder, self.job.spec)

    def end_of_log(self, member: Member) -> str:
        """The last lines that a member wrote."""
        return self.logs.end_of(member)
