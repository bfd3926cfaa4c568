"""Watch the members of a cluster: answer each loss with the right restart, a bounded number of times."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from trainwright_components.cluster.heartbeats import Heartbeat
from trainwright_components.cluster.launchers.protocol import ClusterJob, Gang, Launcher
from trainwright_components.cluster.losses import Loss, loss_by_absence, loss_by_end, loss_by_silence
from trainwright_components.cluster.rules import EVALUATOR, finishers, members_to_restart, servers
from trainwright_components.cluster.spec import Member
from trainwright_components.processes.ending import SAVE_S
from trainwright_components.processes.exit_codes import DONE, TERMINATED, is_worth_retry

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_SETTLE_S = 0.5  # members that lose a peer end a moment after it; the first cause is the one to report


@dataclass(frozen=True, kw_only=True)
class Restart:
    """Why members started again.

    Args:
        members: Who did; nobody when the evaluator was given up.
        after_s: Seconds between the first start and the decision.
        step: The last step that a member spoke of.
        took_s: Seconds between the decision and the return of the last member; None when one did not come back.
    """

    reason: str
    after_s: float
    members: tuple[str, ...] = ()
    step: int = 0
    took_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterOutcome:
    """How a cluster ended.

    Args:
        failed: The member to blame, and its exit code; None after success.
        reason: What happened, in words; empty after success.
        was_stopped: Whether the caller asked for the end.
        restart_limit: `max_restarts`, where it stood against one more restart.
        step: The last step that a member spoke of.
        lost: Members without whom the others could go on, as far as it is known.
    """

    restarts: list[Restart] = field(default_factory=list)
    failed: Member | None = None
    exit_code: int = DONE
    reason: str = ""
    was_stopped: bool = False
    restart_limit: int | None = None
    end_of_log: str = ""
    step: int = 0
    lost: Collection[Member] = ()

    @property
    def is_success(self) -> bool:
        """Whether the training run was done."""
        return not self.reason and not self.was_stopped


def run_cluster(
    launcher: Launcher, job: ClusterJob, *, should_stop: Callable[[], bool] = lambda: False
) -> ClusterOutcome:
    """Start `job` and stay until it ends; lost members start again as `rules` says, `max_restarts` times at most.

    Where workers do not come back and `min_workers` are left, these go on as a smaller cluster with its own restarts.
    `should_stop` is asked twice a second; once it is true, members are asked to save and end.
    """
    restarts: list[Restart] = []
    started = time.monotonic()
    while True:
        gang = launcher.start(job)
        try:
            outcome = _Watch(gang=gang, job=job, restarts=restarts, started=started).until_the_end(should_stop)
        finally:
            gang.close()
        smaller = job.spec.without(outcome.lost)
        if smaller is None:
            return outcome
        job = replace(job, spec=smaller)
        reason = f"{outcome.reason}; continued with {smaller.worker.replicas} of cluster.worker"
        logger.warning("%s", reason)
        members = tuple(map(str, smaller.members))
        restarts.append(Restart(reason=reason, after_s=time.monotonic() - started, members=members, step=outcome.step))


@dataclass(kw_only=True)
class _Watch:
    """Follows one gang.

    Attributes:
        expected: Who is watched: all members, until the evaluator is given up.
        join_until: When each must have joined.
    """

    gang: Gang
    job: ClusterJob
    restarts: list[Restart] = field(default_factory=list)
    expected: set[Member] = field(default_factory=set)
    join_until: dict[Member, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _last_start: float = field(default_factory=time.monotonic)
    _losses: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})

    def __post_init__(self) -> None:
        self.expected = set(self.job.spec.members)
        self._await(self.expected)

    def until_the_end(self, should_stop: Callable[[], bool]) -> ClusterOutcome:
        """Watch until the training run is done, fails for good, or is asked to end."""
        while True:
            ended = self.gang.wait(_POLL_S)
            heartbeats = self.gang.heartbeats()
            self._note_returns(heartbeats)
            if self._is_over(ended):
                return ClusterOutcome(restarts=self.restarts)
            loss = self._by_end(ended) or self._by_absence(ended, heartbeats) or self._by_silence(ended, heartbeats)
            outcome = self._answer(loss, heartbeats) if loss is not None else None
            if outcome is not None:
                return outcome
            if loss is None and should_stop():
                self._stop()
                return ClusterOutcome(restarts=self.restarts, was_stopped=True, exit_code=TERMINATED)

    def _await(self, members: set[Member]) -> None:
        self._last_start = time.monotonic()
        deadline = self._last_start + self.job.spec.rendezvous_timeout_s
        self.join_until.update(dict.fromkeys(members, deadline))

    def _note_returns(self, heartbeats: Mapping[Member, Heartbeat]) -> None:
        joined = {str(member) for member, heartbeat in heartbeats.items() if heartbeat.has_joined}
        for number, restart in enumerate(self.restarts):
            if restart.took_s is None and restart.members and joined.issuperset(restart.members):
                took_s = time.monotonic() - self.started - restart.after_s
                self.restarts[number] = replace(restart, took_s=took_s)

    def _is_trained(self, ended: Mapping[Member, int]) -> bool:
        return all(ended.get(member) == DONE for member in finishers(self.job.spec))

    def _is_over(self, ended: Mapping[Member, int]) -> bool:
        return self._is_trained(ended) and (EVALUATOR not in self.expected or ended.get(EVALUATOR) == DONE)

    def _by_end(self, ended: Mapping[Member, int]) -> Loss | None:
        if not self._lost(ended):
            return None
        settled = time.monotonic() + _SETTLE_S
        while len(ended) < len(self.expected) and time.monotonic() < settled:
            ended = self.gang.wait(max(0.0, settled - time.monotonic()))
        running = self.expected - set(ended) - {EVALUATOR} - servers(self.job.spec)
        return loss_by_end(self._lost(ended), running) if self._lost(ended) else None

    def _lost(self, ended: Mapping[Member, int]) -> dict[Member, int]:
        """Members that ended and should not have, with their exit codes; servers should not before the training."""
        needed = {EVALUATOR} if self._is_trained(ended) else self.expected
        serving = servers(self.job.spec)
        return {
            member: code
            for member, code in ended.items()
            if member in needed & self.expected and (code != DONE or member in serving)
        }

    def _by_absence(self, ended: Mapping[Member, int], heartbeats: Mapping[Member, Heartbeat]) -> Loss | None:
        now = time.monotonic()
        joined = {member for member, heartbeat in heartbeats.items() if heartbeat.has_joined} | set(ended)
        missing = self.expected - joined
        return loss_by_absence({one for one in missing if now > self.join_until[one]}, missing, self.job.spec)

    def _by_silence(self, ended: Mapping[Member, int], heartbeats: Mapping[Member, Heartbeat]) -> Loss | None:
        since_start = time.monotonic() - self._last_start
        needed = self.expected & {EVALUATOR} if self._is_trained(ended) else self.expected
        joined = {
            member: replace(heartbeat, age_s=min(heartbeat.age_s, since_start))
            for member, heartbeat in heartbeats.items()
            if heartbeat.has_joined and member in needed and not (member == EVALUATOR and member in ended)
        }
        return loss_by_silence(joined, self.job.spec)

    def _answer(self, loss: Loss, heartbeats: Mapping[Member, Heartbeat]) -> ClusterOutcome | None:
        """Start again who has to; the outcome when that is no use any more."""
        limit = self.job.spec.max_restarts
        is_worth_it = is_worth_retry(loss.exit_code)
        is_final = not is_worth_it or self._losses[loss.is_of_evaluator] >= limit
        lost = loss.culprits if is_worth_it else ()
        step = max((heartbeat.step for heartbeat in heartbeats.values()), default=0)
        is_final |= loss.is_absence and self.job.spec.without(lost) is not None
        if is_final and not loss.is_of_evaluator:
            tail = self.gang.end_of_log(loss.member) if loss.member is not None else ""
            return ClusterOutcome(
                restarts=self.restarts,
                failed=loss.member,
                exit_code=loss.exit_code,
                reason=loss.reason,
                restart_limit=limit if is_worth_it else None,
                end_of_log=tail,
                lost=lost,
                step=step,
            )
        members = set() if is_final else members_to_restart(loss.members, self.job.spec) & self.expected
        restart = Restart(
            reason=f"{loss.reason}; given up" if is_final else loss.reason,
            after_s=time.monotonic() - self.started,
            members=tuple(sorted(map(str, members))),
            step=step,
        )
        self.restarts.append(restart)
        if is_final:
            self.expected.discard(EVALUATOR)
            logger.warning("%s: the training run continues without it", restart.reason)
            return None
        self._losses[loss.is_of_evaluator] += 1
        logger.warning("%s; restart %d of %d", loss.reason, self._losses[loss.is_of_evaluator], limit)
        self.gang.restart(members)
        self._await(members)
        return None

    def _stop(self) -> None:
        logger.warning("asked to end: members save and end, within %g s", SAVE_S)
        self.gang.terminate()
        deadline = time.monotonic() + SAVE_S
        ended: Mapping[Member, int] = {}
        while not finishers(self.job.spec) <= set(ended) and time.monotonic() < deadline:
            ended = self.gang.wait(max(0.0, deadline - time.monotonic()))
