"""What of a cluster is lost: members that ended, that never came, or that send no heartbeat."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trainwright_components.cluster.heartbeats import Heartbeat
from trainwright_components.cluster.rules import CHIEF, EVALUATOR, servers, trainers
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.processes.exit_codes import PEER_LOST, describe_exit_code, is_worth_retry

_SILENT_S = 15.0  # servers send a heartbeat every second


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Members that are gone or as good as gone: the evaluator alone, or some that train.

    Args:
        member: Whose log tells most, if one does.
        culprits: Without whom there would be no loss, as far as that is known.
        is_absence: Whether they never came.
    """

    members: Collection[Member]
    reason: str
    exit_code: int = PEER_LOST
    member: Member | None = None
    culprits: Collection[Member] = ()
    is_absence: bool = False

    @property
    def is_of_evaluator(self) -> bool:
        """Whether the training run itself lost nothing."""
        return set(self.members) == {EVALUATOR}


def loss_by_end(codes: Mapping[Member, int], running: Collection[Member] = ()) -> Loss:
    """Of members that ended with `codes`; one that only lost a peer is not to blame while another can say more.

    When all that ended lost a peer, it hangs among those that are `running`.
    """
    training = {member: code for member, code in codes.items() if member != EVALUATOR}
    codes = training or codes
    causes = sorted(codes, key=lambda member: _rank(codes[member]))
    first = causes[0]
    same = [member for member in causes if is_worth_retry(codes[first]) and _rank(codes[member]) == _rank(codes[first])]
    reason = ", ".join(f"{member} ended: {describe_exit_code(codes[member])}" for member in same or [first])
    culprits = set(same or [first])
    if codes[first] == PEER_LOST:
        culprits = set(running)
    if running and codes[first] == PEER_LOST:
        reason += f"; still there, perhaps hanging: {', '.join(sorted(map(str, running)))}"
    return Loss(members=set(codes), reason=reason, exit_code=codes[first], member=first, culprits=culprits)


def loss_by_absence(late: Collection[Member], missing: Collection[Member], spec: ClusterSpec) -> Loss | None:
    """Of members that did not join in time: any of `late` makes all that are `missing` lost."""
    limit = f"{spec.rendezvous_timeout_s:g} s"
    if training := set(missing) - {EVALUATOR} if set(late) - {EVALUATOR} else set():
        names = ", ".join(sorted(map(str, training)))
        reason = f"the cluster was not complete after {limit}: {names} did not join"
        return Loss(members=training, reason=reason, culprits=training, is_absence=True)
    if EVALUATOR in late:
        return Loss(members={EVALUATOR}, reason=f"{EVALUATOR} did not start within {limit}", member=EVALUATOR)
    return None


def loss_by_silence(heartbeats: Mapping[Member, Heartbeat], spec: ClusterSpec) -> Loss | None:
    """Of members that have joined and send no heartbeat, or make no step."""
    limit = spec.stall_timeout_s
    who_steps = {CHIEF} if spec.has_parameter_servers else trainers(spec)
    if who_steps <= set(heartbeats) and min(heartbeats[member].age_s for member in who_steps) > limit:
        expected_s = min(_SILENT_S, limit / 2)
        silent = {member for member in servers(spec) & set(heartbeats) if heartbeats[member].age_s > expected_s}
        names = f": {', '.join(sorted(map(str, silent)))} hangs" if silent else ""
        return Loss(members=silent or trainers(spec), reason=f"no member has made a step for {limit:g} s{names}")
    if EVALUATOR in heartbeats and heartbeats[EVALUATOR].age_s > limit:
        return Loss(members={EVALUATOR}, reason=f"{EVALUATOR} has sent no heartbeat for {limit:g} s", member=EVALUATOR)
    return None


def _rank(code: int) -> int:
    if not is_worth_retry(code):
        return 0
    return 2 if code == PEER_LOST else 1
