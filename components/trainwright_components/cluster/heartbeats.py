"""Signs of life: what each member last said of itself, one small file per member in a folder that all of them share."""

import contextlib
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.files import write_whole

SIGNS_FOLDER = "signs"
JOINING, JOINED, TRAINING, SAVING, FINISHING = "joining", "joined", "training", "saving", "finishing"
_LEAST_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Sign:
    """What a member said last.

    Args:
        doing: `joining` while it waits for the others; anything later says that it has reached all of them.
        step: Optimizer steps taken.
    """

    doing: str
    step: int
    age_s: float

    @property
    def has_joined(self) -> bool:
        """Whether the member has reached all others."""
        return self.doing != JOINING


class SaySign(Protocol):
    """Tells whoever watches over the members what this one is doing."""

    def __call__(self, doing: str = ..., step: int = ...) -> None:
        """Say it; `doing` is one of the words above."""


@dataclass(kw_only=True)
class SignOfLife:
    """Says that a member is at work; the same less than a second after the last time says nothing."""

    folder: Path
    member: Member
    _said: str = ""
    _last: float = field(default_factory=time.monotonic)

    def __call__(self, doing: str = JOINED, step: int = 0) -> None:
        if doing == self._said and time.monotonic() - self._last < _LEAST_S:
            return
        self._said, self._last = doing, time.monotonic()
        file = self.folder / SIGNS_FOLDER / str(self.member)
        with contextlib.suppress(OSError):  # on a full disk the checkpoint says what is wrong
            write_whole(file, json.dumps({"doing": doing, "step": step}), is_durable=False)


def read_signs(folder: Path, spec: ClusterSpec) -> Mapping[Member, Sign]:
    """The last sign of each member that has given one."""
    files = {member: folder / SIGNS_FOLDER / str(member) for member in spec.members}
    return {member: _read(file) for member, file in files.items() if file.exists()}


def forget_signs(folder: Path, members: Collection[Member]) -> None:
    """Take back the signs of members that start again."""
    for member in members:
        (folder / SIGNS_FOLDER / str(member)).unlink(missing_ok=True)


def _read(file: Path) -> Sign:
    content = json.loads(file.read_text())
    return Sign(doing=content["doing"], step=content["step"], age_s=time.time() - file.stat().st_mtime)


if TYPE_CHECKING:
    _say: type[SaySign] = SignOfLife
