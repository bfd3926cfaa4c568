"""A drill loses a member on purpose and tells what it cost, with the numbers of the training itself."""

from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster.spec import Member
from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_components.train_distributed.drill import DrillResult, plan_fault, run_drill
from trainwright_components.train_distributed.fault_injection import MOMENTS, Fault
from trainwright_components.training.result import read_result

NET = Path(__file__).parent / "modules" / "net.py"
PLAIN = NET.with_name("plain.py")
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4}
CHIEF, WORKER = Member(role="worker", index=0), Member(role="worker", index=1)


def drill(dataset: Path, folder: Path, fault: Fault, *, module: Path = NET, **options: Any) -> DrillResult:
    return run_drill(dataset, module, folder, fault, **{"training": TRAINING, "compare": False, **options})


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_checkpoint(small_dataset: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = drill(small_dataset, tmp_path, Fault(member=WORKER, step=10), compare=True, tell=said.append)
    assert (result.has_survived, result.step, result.resumed_at, result.steps_lost) == (True, 10, 8, 2)
    assert result.reasons == ("worker-1 ended: killed by signal 9",)
    assert result.largest_difference == 0.0
    assert result.noticed_s is not None
    assert result.back_s is not None
    assert result.caught_up_s is not None
    assert 0 < result.noticed_s < result.back_s <= result.caught_up_s < result.disturbed_s
    assert any(line.startswith("worker-1: kill while training, at step 10") for line in said)


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_costs_no_step(small_dataset: Path, tmp_path: Path) -> None:
    result = drill(small_dataset, tmp_path, Fault(member=WORKER, how="terminate", step=10))
    assert (result.has_survived, result.resumed_at, result.steps_lost) == (True, 11, 0)
    assert "terminated (143)" in result.reasons[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("member", "moment", "how"),
    [
        *((CHIEF, moment, "kill") for moment in MOMENTS),
        (WORKER, "joining", "kill"),
        (WORKER, "finishing", "kill"),
        (WORKER, "training", "hang"),
    ],
)
def test_no_moment_is_too_bad(small_dataset: Path, tmp_path: Path, member: Member, moment: str, how: str) -> None:
    result = drill(small_dataset, tmp_path, Fault(member=member, how=how, moment=moment))
    assert result.has_survived
    assert len(result.reasons) == 1
    assert read_result(tmp_path / "disturbed").steps == 24


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "cluster", "resumed_at"),
    [
        ("ps", {"worker": 1, "ps": 1}, 8),
        ("worker", {"worker": 1, "ps": 1}, None),
        ("evaluator", {"evaluator": 1}, None),
    ],
)
def test_members_beside_the_chief_cost_what_they_hold(
    small_dataset: Path, tmp_path: Path, role: str, cluster: dict[str, int], resumed_at: int | None
) -> None:
    """A parameter server costs the steps since the checkpoint, a worker that serves and an evaluator cost none."""
    fault = plan_fault(role, step=10, cluster=cluster)
    result = drill(small_dataset, tmp_path, fault, cluster=cluster, module=PLAIN)
    assert (result.has_survived, result.step, result.resumed_at) == (True, 10, resumed_at)
    assert result.reasons == (f"{role}-0 ended: killed by signal 9",)
    assert result.note == ""
    assert result.steps_lost == (2 if resumed_at else 0)


@pytest.mark.slow
def test_one_process_that_is_watched_over_survives_too(small_dataset: Path, tmp_path: Path) -> None:
    chief = Member(role="chief", index=0)
    training = {**TRAINING, "deterministic": True}
    result = drill(
        small_dataset,
        tmp_path,
        Fault(member=chief, step=7),
        cluster={"chief": 1},
        training=training,
        compare=True,
    )
    assert (result.resumed_at, result.steps_lost, result.largest_difference) == (4, 3, 0.0)


def test_what_does_not_survive_says_why(small_dataset: Path, tmp_path: Path) -> None:
    result = drill(small_dataset, tmp_path, Fault(member=WORKER, step=6), cluster={"max_restarts": 0})
    assert not result.has_survived
    assert "worker-1 ended: killed by signal 9" in result.error
    assert result.noticed_s is None


@pytest.mark.slow
def test_a_worker_that_is_lost_while_ten_steps_are_handed_out_costs_none(small_dataset: Path, tmp_path: Path) -> None:
    """The other worker goes on meanwhile, and would be done before the loss is noticed: its last epoch awaits that."""
    cluster = {"worker": 2, "ps": 1}
    training = {**TRAINING, "checkpoint_every_steps": 0, "steps_per_call": 10}
    fault = plan_fault("worker", step=10, cluster=cluster)
    noticed = tmp_path / "noticed"
    module = tmp_path / "awaiting.py"
    plain = PLAIN.read_text().replace("DEFAULT_PARAMS = {", 'DEFAULT_PARAMS = {"awaited": "", ')
    module.write_text(plain + PLAIN.with_name("awaiting.py").read_text())

    def note(line: str) -> None:
        if line.startswith("noticed"):
            noticed.touch()

    options: dict[str, Any] = {"cluster": cluster, "training": training, "params": {"awaited": str(noticed)}}
    result = drill(small_dataset, tmp_path, fault, module=module, tell=note, **options)
    assert (result.has_survived, result.steps_lost, result.note) == (True, 0, "")
    assert result.reasons == ("worker-1 ended: killed by signal 9",)
    assert read_result(tmp_path / "disturbed").steps == 24


def test_a_step_that_the_training_does_not_have_is_refused_before_it(small_dataset: Path, tmp_path: Path) -> None:
    expected = "step 25 never comes: this training run has 24 steps, 6 in each of 4 epochs"
    with pytest.raises(InvalidSetting, match=expected):
        drill(small_dataset, tmp_path, Fault(member=WORKER, step=25))
    training = {**TRAINING, "steps_per_epoch": 2}
    with pytest.raises(InvalidSetting, match="this training run has 8 steps, 2 in each of 4 epochs"):
        drill(small_dataset, tmp_path, Fault(member=WORKER, step=9), training=training)
    assert not any(tmp_path.iterdir())


def test_a_fault_point_that_is_never_reached_is_a_failure(small_dataset: Path, tmp_path: Path) -> None:
    chief = Member(role="chief", index=0)
    module = tmp_path / "own.py"
    module.write_text(f"{NET.read_text()}\n\ndef train(context):\n    return build_model(context)\n")
    with pytest.raises(
        RunFailed, match="no fault was injected: training finished before chief-0 was training at step 99"
    ):
        drill(small_dataset, tmp_path, Fault(member=chief, step=99), cluster={"chief": 1}, module=module)


@pytest.mark.parametrize(
    ("role", "index", "cluster", "member"),
    [
        ("worker", None, None, "worker-1"),
        ("worker", 0, {"worker": 3}, "worker-0"),
        ("worker", None, {"worker": 3}, "worker-2"),
        ("chief", None, None, "chief-0"),
        ("worker", None, {"max_restarts": 0}, "worker-1"),
        ("ps", None, {"stall_timeout_s": 5}, "ps-0"),
    ],
)
def test_the_last_of_a_role_gets_the_fault_unless_another_is_named(
    role: str, index: int | None, cluster: dict[str, Any] | None, member: str
) -> None:
    assert str(plan_fault(role, index, cluster=cluster).member) == member


def test_a_member_that_the_cluster_lacks_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="the cluster has no ps-0; it has worker-0, worker-1"):
        plan_fault("ps", cluster={"worker": 2})
