"""`trainwright drill`: a training of the digits that loses a member, told in a table and as JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_member_that_the_cluster_lacks_is_refused_before_any_work(trainwright: Callable) -> None:
    outcome = trainwright("drill", "--role", "evaluator", "--set", "cluster.worker=2", "--json")
    assert outcome.code == 2
    assert "the cluster has no evaluator-0; it has worker-0, worker-1" in json.loads(outcome.out)["error"]["message"]
    assert "preparing" not in outcome.err


@pytest.mark.slow
def test_the_drill_tells_what_a_loss_cost(trainwright: Callable, tmp_path: Path) -> None:
    outcome = trainwright("drill", "--how", "terminate", "--at-step", "15", "--keep", str(tmp_path), "--json")
    result = json.loads(outcome.out)
    assert (outcome.code, result["has_survived"], result["member"], result["step"]) == (0, True, "worker-1", 15)
    assert (result["steps_lost"], result["largest_difference"]) == (0, 0.0)
    assert (tmp_path / "disturbed" / "model.keras").is_file()


@pytest.mark.slow
def test_a_training_that_does_not_survive_is_an_exit_code(trainwright: Callable) -> None:
    outcome = trainwright(
        "drill",
        "--no-compare",
        "--at-step",
        "3",
        "--role",
        "chief",
        "--set",
        "cluster.chief=1",
        "--set",
        "cluster.max_restarts=0",
    )
    assert outcome.code == 1
    assert "no: chief-0 ended: killed by signal 9" in outcome.out
