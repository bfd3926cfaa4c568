"""Stop a member at a chosen phase and step until it is released, so that a fault can be injected exactly there."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trainwright_components.cluster.heartbeats import SendHeartbeat
from trainwright_components.cluster.spec import Member
from trainwright_components.files import write_whole

VARIABLE = "TRAINWRIGHT_FAULT_POINT"
_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class FaultPoint:
    """Where a member stops, once.

    Args:
        member: Its name, such as `worker-1`.
        phase: One of the phases in `heartbeats`.
        step: The first step at which it stops.
        folder: Where it reports that it has stopped; the members and whoever injects the fault see it.
    """

    member: str
    phase: str
    step: int
    folder: str

    def to_env(self) -> Mapping[str, str]:
        """The environment variable by which members learn of it."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_env(cls, environ: Mapping[str, str], member: Member) -> Self | None:
        """The fault point of `member`, if there is one."""
        if not environ.get(VARIABLE):
            return None
        point = cls(**json.loads(environ[VARIABLE]))
        return point if point.member == str(member) else None

    def wrap(self, send_heartbeat: SendHeartbeat) -> SendHeartbeat:
        """`send_heartbeat`, followed by the stop once the member has reached the fault point."""

        def send_and_stop(phase: str = "", step: int = 0) -> None:
            send_heartbeat(phase, step)
            if phase == self.phase and step >= self.step and not self._reached.exists():
                write_whole(self._reached, str(step))
                while not self._released.exists():
                    time.sleep(_POLL_S)

        return send_and_stop

    def reached_step(self) -> int | None:
        """The step at which the member has stopped; None before."""
        return int(self._reached.read_text()) if self._reached.exists() else None

    def release(self) -> None:
        """Let the member continue."""
        self._released.touch()

    @property
    def _reached(self) -> Path:
        return Path(self.folder) / "reached"

    @property
    def _released(self) -> Path:
        return Path(self.folder) / "released"
