"""Stop a member at a moment of its work until it is told to go on, so that a drill can disturb it just there."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trainwright_components.cluster.heartbeats import SaySign
from trainwright_components.cluster.spec import Member
from trainwright_components.files import write_whole

VARIABLE = "TRAINWRIGHT_HOLD"
_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Where a member stops, once.

    Args:
        member: Its name, such as `worker-1`.
        doing: One of the words in `signs`.
        step: The first step at which it stops.
        folder: Where it tells that it has stopped; all members and the drill see it.
    """

    member: str
    doing: str
    step: int
    folder: str

    def to_env(self) -> Mapping[str, str]:
        """The variable by which members learn of it."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_env(cls, environ: Mapping[str, str], member: Member) -> Self | None:
        """The hold that concerns `member`, if there is one."""
        if not environ.get(VARIABLE):
            return None
        hold = cls(**json.loads(environ[VARIABLE]))
        return hold if hold.member == str(member) else None

    def around(self, say: SaySign) -> SaySign:
        """`say`, and at the moment of the hold a stop."""

        def say_and_stop(doing: str = "", step: int = 0) -> None:
            say(doing, step)
            if doing == self.doing and step >= self.step and not self._reached.exists():
                write_whole(self._reached, str(step), is_durable=False)
                while not self._released.exists():
                    time.sleep(_POLL_S)

        return say_and_stop

    def reached_step(self) -> int | None:
        """The step at which the member has stopped; None before."""
        return int(self._reached.read_text()) if self._reached.exists() else None

    def release(self) -> None:
        """Let the member go on."""
        self._released.touch()

    @property
    def _reached(self) -> Path:
        return Path(self.folder) / "reached"

    @property
    def _released(self) -> Path:
        return Path(self.folder) / "released"
