"""The logs of all members as one, each line with the name of its member, while they grow."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

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
