"""Watch a gang: the rendezvous deadline, what the end of a member means, and how often all start again."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from trainwright_components.cluster.exit_codes import DONE, PEER_LOST, TERMINATED, in_words, is_worth_retry
from trainwright_components.cluster.launcher import ClusterJob, Gang, Launcher
from trainwright_components.cluster.signs import Sign
from trainwright_components.cluster.spec import ClusterSpec, Member

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_GRACE_S = 20.0
_SETTLE_S = 0.5  # members that lose a peer end a moment after it; the first cause is the one to report


@dataclass(frozen=True, kw_only=True)
class Restart:
    """Why members started again.

    Args:
        after_s: Seconds between the first start and the decision.
        step: The last step that a member spoke of.
        took_s: Seconds between the decision and the return of the last member; None when one did not come back.
    """

    reason: str
    after_s: float
    step: int = 0
    took_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterOutcome:
    """How a cluster ended.

    Args:
        failed: The member to blame, and its exit code; None after success.
        reason: What happened, in words; empty after success.
        was_stopped: Whether the caller asked for the end.
    """

    restarts: list[Restart] = field(default_factory=list)
    failed: Member | None = None
    exit_code: int = DONE
    reason: str = ""
    was_stopped: bool = False
    end_of_log: str = ""

    @property
    def is_success(self) -> bool:
        """Whether every member did its work."""
        return not self.reason and not self.was_stopped


@dataclass(frozen=True, kw_only=True)
class _End:
    member: Member | None = None
    exit_code: int = DONE
    reason: str = ""
    is_stopped: bool = False
    step: int = 0


def run_cluster(
    launcher: Launcher, job: ClusterJob, *, should_stop: Callable[[], bool] = lambda: False
) -> ClusterOutcome:
    """Start `job` and stay until it ends; a lost member restarts all of them, `max_restarts` times at most.

    `should_stop` is asked twice a second; once it is true, members are asked to save and end.
    """
    started = time.monotonic()
    restarts: list[Restart] = []

    def note_return() -> None:
        if restarts:
            took_s = time.monotonic() - started - restarts[-1].after_s
            restarts[-1] = replace(restarts[-1], took_s=took_s)

    while True:
        gang = launcher.start(job, attempt=len(restarts))
        try:
            end = _watch(gang, job, should_stop, note_return)
        finally:
            gang.close()
        tail = gang.end_of_log(end.member) if end.member is not None else ""
        if end.is_stopped:
            return ClusterOutcome(restarts=restarts, was_stopped=True, exit_code=TERMINATED)
        if not end.reason:
            return ClusterOutcome(restarts=restarts)
        if not is_worth_retry(end.exit_code) or len(restarts) >= job.spec.max_restarts:
            return ClusterOutcome(
                restarts=restarts, failed=end.member, exit_code=end.exit_code, reason=end.reason, end_of_log=tail
            )
        restarts.append(Restart(reason=end.reason, after_s=time.monotonic() - started, step=end.step))
        logger.warning("%s; restart %d of %d", end.reason, len(restarts), job.spec.max_restarts)


def _watch(gang: Gang, job: ClusterJob, should_stop: Callable[[], bool], note_return: Callable[[], None]) -> _End:
    deadline = time.monotonic() + job.spec.rendezvous_timeout_s
    expected = set(job.spec.members)
    is_complete = False
    while True:
        ended = gang.wait(_POLL_S)
        signs = gang.signs()
        if not is_complete and not _missing(signs, expected):
            is_complete = True
            note_return()
        if any(code != DONE for code in ended.values()):
            return replace(_blame(gang, expected), step=_last_step(signs))
        if len(ended) == len(expected):
            return _End()
        if should_stop():
            return _stop(gang, expected)
        if problem := _silence(signs, expected, job.spec, is_late=time.monotonic() > deadline):
            return _End(exit_code=PEER_LOST, reason=problem, step=_last_step(signs))


def _silence(signs: Mapping[Member, Sign], expected: set[Member], spec: ClusterSpec, *, is_late: bool) -> str:
    """What is wrong when members do not say anything; empty when nothing is."""
    missing = _missing(signs, expected)
    if missing and is_late:
        names = ", ".join(sorted(map(str, missing)))
        return f"the cluster was not complete after {spec.rendezvous_timeout_s:g} s: {names} did not join"
    if not missing and min(sign.age_s for sign in signs.values()) > spec.stall_timeout_s:
        return f"no member has made a step for {spec.stall_timeout_s:g} s"
    return ""


def _missing(signs: Mapping[Member, Sign], expected: set[Member]) -> set[Member]:
    return {member for member in expected if member not in signs or not signs[member].has_joined}


def _last_step(signs: Mapping[Member, Sign]) -> int:
    return max((sign.step for sign in signs.values()), default=0)


def _blame(gang: Gang, expected: set[Member]) -> _End:
    """The member that ended first, unless another one can say more than that it lost a peer."""
    settled = time.monotonic() + _SETTLE_S
    ended = gang.wait(0)
    while len(ended) < len(expected) and time.monotonic() < settled:
        ended = gang.wait(max(0.0, settled - time.monotonic()))
    failed = {member: code for member, code in ended.items() if code != DONE}
    member = min(failed, key=lambda one: _rank(failed[one]))
    return _End(member=member, exit_code=failed[member], reason=f"{member} ended: {in_words(failed[member])}")


def _rank(code: int) -> int:
    if not is_worth_retry(code):
        return 0
    return 2 if code == PEER_LOST else 1


def _stop(gang: Gang, expected: set[Member]) -> _End:
    logger.warning("asked to end: members save and end, within %g s", _GRACE_S)
    gang.terminate()
    deadline = time.monotonic() + _GRACE_S
    ended: Mapping[Member, int] = {}
    while len(ended) < len(expected) and time.monotonic() < deadline:
        ended = gang.wait(max(0.0, deadline - time.monotonic()))
    return _End(is_stopped=True)
