"""A launcher around another one that disturbs one member at a chosen moment, and takes the times of what follows."""

import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trainwright_components.cluster.fault_points import Hold
from trainwright_components.cluster.heartbeats import FINISHING, JOINING, SAVING, TRAINING, Sign
from trainwright_components.cluster.launchers.protocol import ClusterJob, Gang, Launcher
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.errors import InvalidSetting

SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "hang": signal.SIGSTOP}
MOMENTS = (TRAINING, SAVING, JOINING, FINISHING)
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What is done to whom, and when.

    Args:
        how: `kill`, `terminate` (asks it to end) or `hang` (it stays, and does nothing any more).
        moment: `training`, `saving` a checkpoint, `joining` the others, or `finishing` with the model.
        step: The step from which on the moment counts.
    """

    member: Member
    how: str = "kill"
    moment: str = TRAINING
    step: int = 0

    def __post_init__(self) -> None:
        if self.how not in SIGNALS:
            raise InvalidSetting(f"a member is disturbed by one of {', '.join(SIGNALS)}; got {self.how!r}")
        if self.moment not in MOMENTS:
            raise InvalidSetting(f"the moment must be one of {', '.join(MOMENTS)}; got {self.moment!r}")

    def held(self, spec: ClusterSpec) -> Member:
        """Who stops at the moment: the member itself if it has such moments, else the chief.

        Raises:
            InvalidSetting: There is no such member.
        """
        if self.member not in spec.members:
            there = ", ".join(map(str, spec.members))
            raise InvalidSetting(f"the cluster has no {self.member}; it has {there}")
        chief = next(member for member in spec.members if spec.is_chief(member))
        is_server = self.member.role == "ps" or (spec.has_parameter_servers and self.member.role == "worker")
        is_chiefs = self.moment in (SAVING, FINISHING)
        is_looker = self.member.role == "evaluator" and self.moment != JOINING
        return chief if (is_server and self.moment != JOINING) or is_chiefs or is_looker else self.member


@dataclass(kw_only=True)
class Times:
    """When things happened, on the monotonic clock; None for what did not."""

    step: int = 0
    disturbed: float | None = None
    noticed: float | None = None
    back: float | None = None
    caught_up: float | None = None
    restarted: frozenset[Member] = frozenset()


@dataclass(kw_only=True)
class Disturbing:
    """Starts clusters with `inner`, and disturbs one member of each.

    Args:
        folder: For the files of the hold.
        tell: Takes lines for a person.
    """

    inner: Launcher
    disturbance: Disturbance
    folder: Path
    tell: Callable[[str], None]
    times: Times = field(default_factory=Times)

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self.inner.__exit__(*about)

    def start(self, job: ClusterJob) -> Gang:
        """Start the members, one of which will stop at the moment."""
        what, folder = self.disturbance, self.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        hold = Hold(member=str(what.held(job.spec)), doing=what.moment, step=what.step, folder=str(folder))
        gang = self.inner.start(replace(job, env={**job.env, **hold.to_env()}, paths=(*job.paths, folder)))
        return DisturbedGang(inner=gang, spec=job.spec, hold=hold, what=what, times=self.times, tell=self.tell)


@dataclass(kw_only=True)
class DisturbedGang:
    """Passes everything on, disturbs at the moment, and notes what it sees."""

    inner: Gang
    spec: ClusterSpec
    hold: Hold
    what: Disturbance
    times: Times
    tell: Callable[[str], None]
    _began: float = field(default_factory=time.monotonic)

    def wait(self, timeout_s: float) -> Mapping[Member, int]:
        """Wait for the next end, looking out for the moment meanwhile."""
        deadline = time.monotonic() + timeout_s
        before = len(self.inner.wait(0))
        while True:
            self._disturb_if_held()
            ended = self.inner.wait(min(_POLL_S, max(0.0, deadline - time.monotonic())))
            if len(ended) != before or time.monotonic() >= deadline:
                return ended

    def restart(self, members: Collection[Member]) -> None:
        """Pass on; the first time after the disturbance is when it was noticed."""
        times = self.times
        if times.disturbed is not None and times.noticed is None:
            times.noticed, times.restarted = time.monotonic(), frozenset(members)
            names = ", ".join(sorted(map(str, members)))
            self.tell(f"noticed after {times.noticed - times.disturbed:.1f} s; starting again: {names}")
        self.inner.restart(members)

    def signs(self) -> Mapping[Member, Sign]:
        """Pass on, and note when the training is back and when it is past the step of the disturbance."""
        signs = self.inner.signs()
        times = self.times
        chief = next((sign for member, sign in signs.items() if self.spec.is_chief(member)), None)
        if times.noticed is None or times.disturbed is None or chief is None or chief.doing == JOINING:
            return signs
        have_returned = all(member in signs and signs[member].has_joined for member in times.restarted)
        if times.back is None and have_returned and chief.doing in (TRAINING, SAVING, FINISHING):
            times.back = time.monotonic()
            self.tell(f"training again after {times.back - times.disturbed:.1f} s, at step {chief.step}")
        if times.caught_up is None and have_returned and chief.step > times.step:
            times.caught_up = time.monotonic()
        return signs

    def end_of_log(self, member: Member) -> str:
        """Pass on."""
        return self.inner.end_of_log(member)

    def send_signal(self, member: Member, number: int) -> None:
        """Pass on."""
        self.inner.send_signal(member, number)

    def terminate(self) -> None:
        """Pass on."""
        self.inner.terminate()

    def close(self) -> None:
        """Pass on."""
        self.inner.close()

    def _disturb_if_held(self) -> None:
        step = self.hold.reached_step() if self.times.disturbed is None else None
        if step is None:
            return
        what = self.what
        self.inner.send_signal(what.member, SIGNALS[what.how])
        self.times.disturbed, self.times.step = time.monotonic(), step
        self.tell(f"{what.member}: {what.how} while {what.moment}, at step {step}, {self._age()} after the start")
        self.hold.release()

    def _age(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"


if TYPE_CHECKING:
    _launcher: type[Launcher] = Disturbing
    _gang: type[Gang] = DisturbedGang
