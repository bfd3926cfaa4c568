"""`trainwright train`: alone, and as the members of a cluster that somebody started one by one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import build_tf_config
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.processes.ports import HeldPorts
from trainwright_components.training.result import read_result
from trainwright_components.training.trained_model import TrainedModel

SETTINGS = ("training.epochs=3", "training.batch_size=32", "training.checkpoint_every_steps=4")
MODULE = """
import os
import keras

DEFAULT_PARAMS = {"units": 8, "kill": "", "at": 0, "marker": ""}


def build_model(context):
    feature = context.schema.features
    inputs = {each.name: keras.Input((1,), name=each.name) for each in feature}
    hidden = keras.layers.Dense(context.params["units"], "relu")(keras.layers.Concatenate()(list(inputs.values())))
    outputs = keras.layers.Dense(3, "softmax")(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Kill(keras.callbacks.Callback):
    def __init__(self, params):
        super().__init__()
        self.fault = params

    def on_train_batch_end(self, batch, logs=None):
        is_due = int(self.model.optimizer.iterations.numpy()) == self.fault["at"]
        if is_due and not os.path.exists(self.fault["marker"]):
            open(self.fault["marker"], "w").close()
            os.kill(os.getpid(), 9)


def callbacks(context):
    me = f"{context.role}-{context.role_index}"
    return [Kill(context.params)] if me == context.params["kill"] else []
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset and a module."""
    folder = tmp_path_factory.mktemp("given")
    prepare_data("iris", folder / "dataset")
    (folder / "model.py").write_text(MODULE)
    return folder / "dataset", folder / "model.py"


class Terminal(subprocess.Popen[str]):
    """`trainwright train` in a terminal of its own."""


@pytest.fixture
def start(given: tuple[Path, Path], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(output: str, *more: str, roles: Mapping[str, list[str]] | None = None, member: str = "") -> Terminal:
        line = [sys.executable, "-m", "trainwright_pipelines.cli.main", "train", *map(str, given), output, "--json"]
        line += [part for each in (*SETTINGS, *more) for part in ("--set", each)]
        env = {**os.environ, "TRAINWRIGHT_HOME": str(tmp_path / "home")}
        if roles is not None:
            role, _, index = member.partition("-")
            env["TF_CONFIG"] = build_tf_config(roles, Member(role=role, index=int(index)))
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(Terminal(line, cwd=tmp_path, env=env, text=True, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def end(*members: Terminal) -> list[int]:
    return [member.wait(240) for member in members]


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    held = HeldPorts.take(3)
    yield held.addresses
    held.close()


def difference(one: Path, other: Path) -> float:
    weights = [TrainedModel.load(folder).model.get_weights() for folder in (one, other)]
    return max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))


@pytest.mark.slow
def test_two_members_started_apart_equal_one_process_and_the_chief_alone_writes(
    start: Callable[..., Terminal], addresses: list[str], tmp_path: Path
) -> None:
    """On disks of their own: each has the dataset and the module, and another OUTPUT."""
    roles = {"worker": addresses[:2]}
    members = [start("of-worker-1", roles=roles, member="worker-1"), start("of-chief", roles=roles, member="worker-0")]
    assert end(*members) == [0, 0]
    assert end(start("alone")) == [0]
    assert json.loads(members[0].communicate()[0])["strategy"] == "multi_worker_mirrored"
    assert difference(tmp_path / "of-chief", tmp_path / "alone") < 1e-6
    assert not (tmp_path / "of-worker-1").exists()
    assert not {".lock", "cluster"} & {path.name for path in (tmp_path / "of-chief").iterdir()}


@pytest.mark.slow
def test_a_killed_member_that_is_started_again_meets_the_others_at_the_last_checkpoint(
    start: Callable[..., Terminal], addresses: list[str], tmp_path: Path
) -> None:
    roles = {"worker": addresses[:2]}
    fault = ("params.kill=worker-1", "params.at=6", f"params.marker={tmp_path / 'marker'}")
    chief, killed = (start("model", *fault, roles=roles, member=f"worker-{index}") for index in (0, 1))
    assert end(killed) == [-signal.SIGKILL], killed.communicate()[1]
    assert end(start("model", *fault, roles=roles, member="worker-1"), chief) == [0, 0]
    said = chief.communicate()[1]
    assert "they go on from the last checkpoint; restart 1 of 2" in said
    assert read_result(tmp_path / "model").resumed_at == 4
    assert end(start("alone")) == [0]
    assert difference(tmp_path / "model", tmp_path / "alone") < 1e-6


@pytest.mark.slow
def test_members_that_see_different_checkpoints_do_not_train_out_of_step(
    start: Callable[..., Terminal], addresses: list[str], tmp_path: Path
) -> None:
    def train() -> list[Terminal]:
        roles = {"worker": addresses[:2]}
        return [start(name, roles=roles, member=f"worker-{index}") for index, name in enumerate(("of-chief", "other"))]

    assert end(*train()) == [0, 0]
    (tmp_path / "of-chief" / "training.json").unlink()  # as if it had been killed at the end
    members = train()
    assert set(end(*members)) <= {1, 138}
    said = [member.communicate()[1] for member in members]
    assert "worker-0 would begin from the checkpoint of step" in said[0] or "worker-1 would begin from the b" in said[1]


@pytest.mark.slow
def test_every_role_ends_with_the_training_run_and_sigterm_ends_a_member_that_waits(
    start: Callable[..., Terminal], addresses: list[str], tmp_path: Path
) -> None:
    chief, worker, ps = addresses
    roles = {"chief": [chief], "worker": [worker], "ps": [ps]}
    members = {
        role: start("nowhere" if role in ("worker", "ps") else "model", roles=roles, member=f"{role}-0")
        for role in ("evaluator", "worker", "ps", "chief")
    }
    assert dict(zip(members, end(*members.values()), strict=True)) == dict.fromkeys(members, 0)
    assert (tmp_path / "model" / "evaluator" / "best.npz").is_file()
    assert not (tmp_path / "nowhere").exists()
    waits = start("more", roles={"worker": addresses[:2]}, member="worker-0")
    assert waits.stderr is not None
    assert "waits for worker-1" in waits.stderr.readline()
    waits.terminate()
    assert end(waits) == [143]
    assert not (tmp_path / "more").exists()


def test_what_is_given_wrongly_is_told_before_tensorflow_is_imported(
    trainwright: Callable[..., Any], given: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes some seconds; `sys.modules` tells."""
    began = time.monotonic()
    for arguments, message in (
        (("--set", "training.epoch=3"), "no training setting 'epoch'"),
        (("--set", "trainin.epochs=3"), "no parameter 'trainin'"),
        (("--params", "absent.yaml"), "absent.yaml"),
    ):
        outcome = trainwright("train", *map(str, given), str(tmp_path / "model"), *arguments)
        assert outcome.code == 2, outcome.err
        assert message in outcome.err
    table = tmp_path / "rows.csv"
    table.write_text("a,y\n1,2\n")
    outcome = trainwright("train", str(table), str(given[1]), str(tmp_path / "model"))
    assert outcome.code == 2
    assert "rows.csv is not a prepared dataset; make one: " in outcome.err
    assert f"prepare('{table}', 'dataset', {{'label': 'COLUMN'}})" in outcome.err
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    outcome = trainwright("train", *map(str, given), str(tmp_path / "model"))
    assert 'TF_CONFIG cannot be read: "task" must have a "type"' in outcome.err
    assert not (tmp_path / "model").exists()
    assert time.monotonic() - began < 60
