"""Who is to blame when members are lost, and who starts again."""

import pytest

from trainwright_components.cluster.heartbeats import Heartbeat
from trainwright_components.cluster.losses import loss_by_absence, loss_by_end, loss_by_silence
from trainwright_components.cluster.rules import finishers, members_to_restart, servers
from trainwright_components.cluster.spec import ClusterSpec, Member

SYNCHRONOUS = ClusterSpec.from_mapping({"chief": 1, "worker": 2, "evaluator": 1})
SERVED = ClusterSpec.from_mapping({"worker": 2, "ps": 2, "evaluator": 1, "stall_timeout_s": 100})


def members(names: str) -> set[Member]:
    pairs = (name.rpartition("-") for name in names.split())
    return {Member(role=role, index=int(index)) for role, _, index in pairs}


@pytest.mark.parametrize(
    ("spec", "lost", "again"),
    [
        (SYNCHRONOUS, "worker-1", "chief-0 worker-0 worker-1"),
        (SYNCHRONOUS, "chief-0", "chief-0 worker-0 worker-1"),
        (SYNCHRONOUS, "evaluator-0", "evaluator-0"),
        (SERVED, "worker-1", "worker-1"),
        (SERVED, "worker-0 worker-1", "worker-0 worker-1"),
        (SERVED, "chief-0", "chief-0"),
        (SERVED, "ps-1", "chief-0 ps-1"),
        (SERVED, "ps-0 worker-1", "chief-0 ps-0 worker-1"),
        (SERVED, "evaluator-0", "evaluator-0"),
    ],
)
def test_each_loss_restarts_those_who_cannot_go_on(spec: ClusterSpec, lost: str, again: str) -> None:
    assert members_to_restart(members(lost), spec) == members(again)


def test_a_chief_ends_a_training_with_parameter_servers_and_all_together_a_synchronous_one() -> None:
    assert finishers(SERVED) == members("chief-0")
    assert servers(SERVED) == members("worker-0 worker-1 ps-0 ps-1")
    assert finishers(SYNCHRONOUS) == members("chief-0 worker-0 worker-1")
    assert servers(SYNCHRONOUS) == set()


def test_who_only_lost_a_peer_is_not_to_blame() -> None:
    chief, ps = members("chief-0").pop(), members("ps-0").pop()
    loss = loss_by_end({chief: 138, ps: -9})
    assert (loss.member, loss.exit_code, loss.reason) == (ps, -9, "ps-0 ended: killed by signal 9")
    assert set(loss.members) == {chief, ps}


def test_a_lost_peer_that_did_not_end_is_named() -> None:
    ended, running = members("worker-0").pop(), members("worker-1")
    said = loss_by_end({ended: 138}, running).reason
    assert said == "worker-0 ended: lost a peer (138); still there, perhaps hanging: worker-1"
    assert loss_by_end({ended: -9}, running).reason == "worker-0 ended: killed by signal 9"


def test_the_training_comes_before_the_evaluator() -> None:
    worker, evaluator = members("worker-0").pop(), members("evaluator-0").pop()
    assert set(loss_by_end({evaluator: 1, worker: -9}).members) == {worker}
    assert loss_by_end({evaluator: 1}).is_of_evaluator


def test_members_that_never_join_are_named() -> None:
    missing = members("chief-0 ps-1 evaluator-0")
    loss = loss_by_absence(members("ps-1"), missing, SERVED)
    assert loss is not None
    assert loss.reason == "the cluster was not complete after 120 s: chief-0, ps-1 did not join"
    late = loss_by_absence(members("evaluator-0"), members("evaluator-0"), SERVED)
    assert late is not None
    assert late.reason == "evaluator-0 did not start within 120 s"
    assert loss_by_absence(set(), missing, SERVED) is None


@pytest.mark.parametrize(
    ("silent", "lost", "reason"),
    [
        ("chief-0 worker-1", "worker-1", "no member has made a step for 100 s: worker-1 hangs"),
        ("chief-0", "chief-0 worker-0 worker-1 ps-0 ps-1", "no member has made a step for 100 s"),
        ("evaluator-0", "evaluator-0", "evaluator-0 has sent no heartbeat for 100 s"),
        ("worker-1 ps-0", "", ""),
    ],
)
def test_those_who_say_nothing_are_lost_once_no_step_is_made(silent: str, lost: str, reason: str) -> None:
    heartbeats = {
        member: Heartbeat(phase="training", step=7, age_s=200 if str(member) in silent.split() else 0.5)
        for member in SERVED.members
    }
    loss = loss_by_silence(heartbeats, SERVED)
    assert (set(loss.members) if loss else set(), loss.reason if loss else "") == (members(lost), reason)
