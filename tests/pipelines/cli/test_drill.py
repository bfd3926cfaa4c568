"""`trainwright drill`: a training run of the digits that loses a member, told in a table and as JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_member_that_the_cluster_lacks_is_refused_before_any_work(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("drill", "--role", "evaluator", "--set", "cluster.worker=2", "--json")
    assert outcome.code == 2
    assert "the cluster has no evaluator-0; it has worker-0, worker-1" in json.loads(outcome.out)["error"]["message"]
    assert "preparing" not in outcome.err


def test_a_step_too_far_is_refused_without_a_word_of_tensorflow(home: Path) -> None:
    command = [sys.executable, "-m", "trainwright_pipelines.cli.main", "drill", "--at-step", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "preparing digits",
        "error: step 500 never comes: this training run has 60 steps, 20 in each of 3 epochs",
    ]


@pytest.mark.slow
def test_servers_are_drilled_with_one_step_at_a_time_which_is_said(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("drill", "--no-compare", "--at-step", "5", "--role", "ps", "--set", "training.epochs=1")
    assert outcome.code == 0
    assert "with one step handed out at a time; training.steps_per_call=N hands out N" in outcome.out


@pytest.mark.slow
def test_the_drill_tells_what_a_loss_cost(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    outcome = trainwright("drill", "--how", "terminate", "--at-step", "15", "--keep", str(tmp_path), "--json")
    result = json.loads(outcome.out)
    assert (outcome.code, result["has_survived"], result["member"], result["step"]) == (0, True, "worker-1", 15)
    assert (result["steps_lost"], result["largest_difference"]) == (0, 0.0)
    assert (tmp_path / "disturbed" / "model.keras").is_file()


@pytest.mark.slow
def test_a_training_that_does_not_survive_is_an_exit_code(trainwright: Callable[..., Any]) -> None:
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
