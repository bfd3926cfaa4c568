"""TensorBoard on the logs of runs."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.training.tensorboard_logs import TensorBoardLogs
from trainwright_pipelines.engine.records import Run, Task
from trainwright_pipelines.engine.store import Store


@pytest.fixture
def trained(home: Path, run: Run, tasks: list[Task], spec_text: str) -> Path:
    """A run whose training has written logs; it may go on."""
    folder = home / "runs" / "r" / "steps" / "train-distributed"
    with Store(home) as store:
        store.add_run(run, spec_text)
        for task in tasks:
            store.save_task(replace(task, folder=folder) if task.path == "train-distributed" else task)
    return folder / "outputs" / "tensorboard_logs"


def test_a_run_without_logs_is_named(trained: Path, trainwright: Callable[..., Any], run: Run) -> None:
    outcome = trainwright("tensorboard")
    assert outcome.code == 2
    assert outcome.err == f"error: run {run.id} has no logs for TensorBoard: no step of it has trained a model so far\n"


def test_where_tensorboard_is_missing_it_is_said_how_to_get_it(
    trained: Path, trainwright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = trainwright("tensorboard")
    assert outcome.code == 2
    assert outcome.err.rstrip().endswith("pip install tensorboard")


@pytest.mark.slow
def test_the_curves_of_a_run_are_served_on_loopback(trained: Path, home: Path) -> None:
    logs = TensorBoardLogs(trained)
    logs.write(0, {"loss": 0.5, "val_loss": 0.25})
    logs.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainwright_pipelines.cli.main", "tensorboard"],
        env={**os.environ, "TRAINWRIGHT_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()
        [address] = re.findall(r"http://127\.0\.0\.1:\d+/", said)
        assert said == f"TensorBoard is at {address} until Ctrl-C\n"
        with urllib.request.urlopen(f"{address}data/plugin/scalars/tags") as answer:
            assert {name: list(tags) for name, tags in json.load(answer).items()} == {
                "train": ["epoch_loss"],
                "validation": ["epoch_loss"],
            }
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        process.stdout.close()
