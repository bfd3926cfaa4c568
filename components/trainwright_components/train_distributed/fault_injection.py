"""A launcher around another one that injects a fault into one member, and measures the recovery."""

import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trainwright_components.cluster.fault_points import FaultPoint
from trainwright_components.cluster.heartbeats import FINISHING, JOINING, SAVING, TRAINING, Heartbeat
from trainwright_components.cluster.launchers.protocol import ClusterJob, Gang, Launcher
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.errors import InvalidSetting

SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "hang": signal.SIGSTOP}
MOMENTS = (TRAINING, SAVING, JOINING, FINISHING)
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: what happens to which member, and when.

    Args:
        how: `kill`, `terminate` (asks it to end) or `hang` (the process is stopped and does not end).
        moment: The phase: `training`, `saving` a checkpoint, `joining` the others, or `finishing` with the model.
        step: The step from which on the moment counts.
    """

    member: Member
    how: str = "kill"
    moment: str = TRAINING
    step: int = 0

    def __post_init__(self) -> None:
        if self.how not in SIGNALS:
            raise InvalidSetting(f"the fault must be one of {', '.join(SIGNALS)}; got {self.how!r}")
        if self.moment not in MOMENTS:
            raise InvalidSetting(f"the moment must be one of {', '.join(MOMENTS)}; got {self.moment!r}")

    def stopped_member(self, spec: ClusterSpec) -> Member:
        """The member with the fault point: the target of the fault if it has such a phase, else the chief.

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
class FaultTimes:
    """When things happened, on the monotonic clock; None for what did not."""

    step: int = 0
    injected: float | None = None
    noticed: float | None = None
    back: float | None = None
    caught_up: float | None = None
    restarted: frozenset[Member] = frozenset()


@dataclass(kw_only=True)
class FaultInjectingLauncher:
    """Starts clusters with `inner`, and injects `fault` into one member of each.

    Args:
        folder: For the files of the fault point.
        tell: Takes lines for a person.
    """

    inner: Launcher
    fault: Fault
    folder: Path
    tell: Callable[[str], None]
    times: FaultTimes = field(default_factory=FaultTimes)

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        self.inner.__exit__(*about)

    def start(self, job: ClusterJob) -> Gang:
        """Start the members, one of which will stop at the fault point."""
        fault, folder = self.fault, self.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        stopped = str(fault.stopped_member(job.spec))
        point = FaultPoint(member=stopped, phase=fault.moment, step=fault.step, folder=str(folder))
        gang = self.inner.start(replace(job, env={**job.env, **point.to_env()}, paths=(*job.paths, folder)))
        return FaultInjectingGang(inner=gang, spec=job.spec, point=point, fault=fault, times=self.times, tell=self.tell)


@dataclass(kw_only=True)
class FaultInjectingGang:
    """Delegates to `inner`, injects the fault when the fault point is reached, and measures the recovery."""

    inner: Gang
    spec: ClusterSpec
    point: FaultPoint
    fault: Fault
    times: FaultTimes
    tell: Callable[[str], None]
    _began: float = field(default_factory=time.monotonic)

    def wait(self, timeout_s: float) -> Mapping[Member, int]:
        """Wait for the next end, and inject the fault if the fault point is reached meanwhile."""
        deadline = time.monotonic() + timeout_s
        before = len(self.inner.wait(0))
        while True:
            self._inject_if_reached()
            ended = self.inner.wait(min(_POLL_S, max(0.0, deadline - time.monotonic())))
            if len(ended) != before or time.monotonic() >= deadline:
                return ended

    def restart(self, members: Collection[Member]) -> None:
        """Delegate; the first restart after the fault is when it was noticed."""
        times = self.times
        if times.injected is not None and times.noticed is None:
            times.noticed, times.restarted = time.monotonic(), frozenset(members)
            names = ", ".join(sorted(map(str, members)))
            self.tell(f"noticed after {times.noticed - times.injected:.1f} s; restarting {names}")
        self.inner.restart(members)

    def heartbeats(self) -> Mapping[Member, Heartbeat]:
        """Delegate, and note when training is back and when it is past the step of the fault."""
        heartbeats = self.inner.heartbeats()
        times = self.times
        chief = next((heartbeat for member, heartbeat in heartbeats.items() if self.spec.is_chief(member)), None)
        if times.noticed is None or times.injected is None or chief is None or chief.phase == JOINING:
            return heartbeats
        have_returned = all(member in heartbeats and heartbeats[member].has_joined for member in times.restarted)
        if times.back is None and have_returned and chief.phase in (TRAINING, SAVING, FINISHING):
            times.back = time.monotonic()
            self.tell(f"training again after {times.back - times.injected:.1f} s, at step {chief.step}")
        if times.caught_up is None and have_returned and chief.step > times.step:
            times.caught_up = time.monotonic()
        return heartbeats

    def end_of_log(self, member: Member) -> str:
        """Delegate."""
        return self.inner.end_of_log(member)

    def send_signal(self, member: Member, number: int) -> None:
        """Delegate."""
        self.inner.send_signal(member, number)

    def terminate(self) -> None:
        """Delegate."""
        self.inner.terminate()

    def close(self) -> None:
        """Delegate."""
        self.inner.close()

    def _inject_if_reached(self) -> None:
        step = self.point.reached_step() if self.times.injected is None else None
        if step is None:
            return
        fault = self.fault
        self.inner.send_signal(fault.member, SIGNALS[fault.how])
        self.times.injected, self.times.step = time.monotonic(), step
        self.tell(f"{fault.member}: {fault.how} while {fault.moment}, at step {step}, {self._age()} after the start")
        self.point.release()

    def _age(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"


if TYPE_CHECKING:
    _launcher: type[Launcher] = FaultInjectingLauncher
    _gang: type[Gang] = FaultInjectingGang
