"""A cluster gives what one process gives, survives a lost member, and reports like one process."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster import supervisor
from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import build_tf_config
from trainwright_components.errors import InvalidData, InvalidSetting, TrainingFailed, UserCodeError
from trainwright_components.hyperparameter_tune.tune import tune_model
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.user_module.module import load_module

NET = Path(__file__).parent / "modules" / "net.py"
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4}
TWO_WORKERS = {"worker": 2}


@pytest.fixture(scope="session")
def alone(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train_model(small_dataset, NET, tmp_path_factory.mktemp("alone") / "model", training=TRAINING)


@pytest.fixture(scope="session")
def two_workers(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    folder = tmp_path_factory.mktemp("two")
    return train_model(
        small_dataset,
        NET,
        folder / "model",
        training=TRAINING,
        cluster=TWO_WORKERS,
        log_dir=folder / "logs",
        report=folder / "report.html",
    )


def assert_same(one: TrainingResult, other: TrainingResult, difference: Callable[..., float]) -> None:
    """24 Adam steps with clipping, regularisation, weights, synchronized BatchNorm and a last batch of three rows."""
    assert one.steps == other.steps == 24
    assert difference(one, other) < 1e-6
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_two_workers_give_what_one_process_gives(
    alone: TrainingResult, two_workers: TrainingResult, difference: Callable[..., float]
) -> None:
    assert (two_workers.strategy, two_workers.replicas) == ("multi_worker_mirrored", 2)
    assert_same(two_workers, alone, difference)


def test_logical_devices_give_what_one_device_gives(
    alone: TrainingResult, small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    mirrored = train_model(
        small_dataset, NET, tmp_path / "model", training={**TRAINING, "logical_devices": 3}, cluster={"chief": 1}
    )
    assert (mirrored.strategy, mirrored.replicas) == ("mirrored", 3)
    assert mirrored.strategy_reason == "the CPU is divided into 3 logical devices"
    assert_same(mirrored, alone, difference)


def test_a_cluster_leaves_the_model_the_logs_and_a_report(two_workers: TrainingResult) -> None:
    folder = two_workers.model_folder
    names = {"model.keras", "module", "params.json", "schema.json", "statistics.json", "training.json", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == names
    assert len(list((folder.parent / "logs").glob("*/events.*"))) == 2
    page = (folder.parent / "report.html").read_text()
    for text in ("multi_worker_mirrored: the cluster has 2 training members", "worker 2", "<svg", "val_loss"):
        assert text in page


@pytest.mark.parametrize("member", ["worker-1", pytest.param("chief-0", marks=pytest.mark.slow)])
def test_a_killed_member_costs_no_accuracy(
    two_workers: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    member: str,
    caplog: pytest.LogCaptureFixture,
    difference: Callable[..., float],
) -> None:
    caplog.set_level("INFO")
    params = {"member": member, "step": 10, "marker": str(tmp_path / "marker")}
    result = train_model(small_dataset, NET, tmp_path / "model", params=params, training=TRAINING, cluster=TWO_WORKERS)
    killed = member.replace("chief", "worker")
    assert f"{killed} ended: killed by signal 9; restart 1 of 2" in caplog.messages
    assert result.resumed_at == 8
    assert difference(result, two_workers) == 0.0
    assert result.history == two_workers.history


@pytest.mark.slow
def test_sigterm_saves_and_ends_and_the_training_goes_on(
    two_workers: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    difference: Callable[..., float],
) -> None:
    monkeypatch.setattr(supervisor, "SAVE_S", 300)  # a busy machine may take longer than what members get
    options: dict[str, Any] = {
        "params": {"member": "worker-1", "step": 6, "pid": os.getpid(), "marker": str(tmp_path / "marker")},
        "training": TRAINING,
        "cluster": TWO_WORKERS,
        "report": tmp_path / "report.html",
    }
    with pytest.raises(SystemExit) as ended:
        train_model(small_dataset, NET, tmp_path / "model", **options)
    assert ended.value.code == 143
    saved = max(int(path.stem.partition("-")[2]) for path in (tmp_path / "model" / "checkpoints").iterdir())
    assert not (tmp_path / "report.html").exists()
    result = train_model(small_dataset, NET, tmp_path / "model", **options)
    assert result.resumed_at == saved
    assert 6 <= saved < 24
    assert difference(result, two_workers) == 0.0


@pytest.mark.slow
def test_workers_go_on_without_one_that_does_not_come_back(
    alone: TrainingResult, small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    """Within the run, and in one that is started again with another number of them."""
    options: dict[str, Any] = {"params": {"member": "worker-2", "step": 10}, "training": TRAINING}
    cluster = {"worker": 3, "max_restarts": 0}
    result = train_model(small_dataset, NET, tmp_path / "one", cluster={**cluster, "min_workers": 2}, **options)
    said = "worker-2 ended: killed by signal 9; continued with 2 of cluster.worker"
    assert [restart.reason for restart in result.restarts] == [said]
    assert (result.resumed_at, result.replicas) == (8, 2)
    assert result.notes[0].startswith(
        "went on from step 8 after changes (number of replicas is 2, was 3), with the state"
    )
    assert_same(result, alone, difference)
    with pytest.raises(TrainingFailed, match="killed by signal 9"):
        train_model(small_dataset, NET, tmp_path / "other", cluster=cluster, **options)
    for_one = train_model(small_dataset, NET, tmp_path / "other", **options)
    assert (for_one.resumed_at, for_one.replicas) == (8, 1)
    assert_same(for_one, alone, difference)


@pytest.mark.parametrize(
    ("split", "harm", "message"),
    [
        ("train", "missing", r"train/part-00000-of-00003\.tfrecord is missing; prepare the data again"),
        ("train", "empty", r"statistics\.json counts: train has \d+ rows instead of 53; prepare the data again"),
        ("validation", "empty", r"statistics\.json counts: validation has 0 rows instead of 21; prepare"),
        ("train", "flipped", r"train/part-00000\S+ cannot be read: corrupted record at .*; prepare the data again"),
    ],
)
def test_data_that_cannot_be_whole_is_refused_before_a_cluster_starts(
    small_dataset: Path, tmp_path: Path, split: str, harm: str, message: str
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(small_dataset, dataset)
    shard = sorted((dataset / split).iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(b"" if harm == "empty" else content)
    if harm == "missing":
        shard.unlink()
    with pytest.raises(InvalidData, match=message):
        train_model(dataset, NET, tmp_path / "model", training=TRAINING, cluster=TWO_WORKERS)
    assert not (tmp_path / "model").exists()


def test_an_exception_of_the_users_in_a_member_is_raised_here(small_dataset: Path, tmp_path: Path) -> None:
    params = {"member": "worker-1", "step": 3, "marker": str(tmp_path / "marker"), "error": True}
    with pytest.raises(UserCodeError, match=r"training of net\.py failed: RuntimeError: wrong on purpose") as caught:
        train_model(small_dataset, NET, tmp_path / "model", params=params, training=TRAINING, cluster=TWO_WORKERS)
    assert 'raise RuntimeError("wrong on purpose")' in caught.value.user_traceback


@pytest.mark.parametrize(
    ("training", "cluster", "message"),
    [
        ({"strategy": "multi_worker_mirrored"}, {}, "needs a cluster"),
        ({"strategy": "mirrored"}, {"worker": 2}, "uses one process, but the cluster has 2"),
        ({"devices": {"use": ["CPU:0"]}}, {"worker": 2}, "use is for one process: each member of a cluster takes all"),
        ({"placement": {"dense": "CPU:0"}}, {"worker": 2}, "spreads one model over devices.*choose one of them"),
        ({"logical_devices": 500, "batch_size": 32}, {}, "^500 replicas of strategy mirrored, but training"),
        ({"logical_devices": 5, "batch_size": 4, "strategy": "central_storage"}, {"chief": 1}, "at most 4 of them get"),
        ({"batch_size": 2}, {"chief": 1, "worker": 2}, "^3 replicas of strategy multi_worker_mirrored, but"),
        ({}, {"worker": 2, "launcher": "slurm"}, "launcher must be one of local, docker; got 'slurm'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    training: dict[str, Any], cluster: dict[str, Any], message: str, small_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        train_model(small_dataset, NET, tmp_path / "model", training=training, cluster=cluster)


UNUSABLE = """
import keras, numpy as np, tensorflow as tf

DEFAULT_PARAMS = {"at": 20}

def make_dataset(split, context):
    labels = np.arange(24) % 3
    if split == "train":
        labels[context.params["at"]] = 9
    return tf.data.Dataset.from_tensor_slices(({"x": np.ones((24, 4), "float32")}, labels))

def build_model(context):
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(3, activation="softmax", name="dense")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.parametrize(
    ("cluster", "training"),
    [
        (TWO_WORKERS, {}),
        pytest.param({"worker": 1, "ps": 1}, {}, marks=pytest.mark.slow),
        pytest.param({"chief": 1}, {"logical_devices": 2}, marks=pytest.mark.slow),
        pytest.param({"chief": 1}, {"layout": {"dense/kernel": 0}, "logical_devices": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_label_that_the_model_has_no_output_for_ends_every_strategy_in_words(
    cluster: dict[str, int], training: dict[str, Any], small_dataset: Path, tmp_path: Path
) -> None:
    """Where it is in the first batch, before a cluster starts; else while its batch is read."""
    module, settings = tmp_path / "m.py", {"epochs": 1, "batch_size": 8, "shuffle": False, **training}
    module.write_text(UNUSABLE)
    said = "the train split of make_dataset of m.py: the label is 9, but the model puts out 3 classes, 0 to 2"
    with pytest.raises(InvalidData, match=said):
        train_model(small_dataset, module, tmp_path / "model", training=settings, cluster=cluster)
    with pytest.raises(InvalidData, match=said):
        train_model(small_dataset, module, tmp_path / "first", params={"at": 3}, training=settings, cluster=cluster)
    assert not (tmp_path / "first").exists()


def test_what_cannot_be_joined_is_refused_to_a_member_of_another_launchers_cluster(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", build_tf_config({"worker": ["h:1", "h:2"]}, Member(role="worker", index=1)))
    with pytest.raises(InvalidSetting, match=r"TF_CONFIG makes this process worker-1 of a cluster \(worker: 2\)"):
        tune_model(small_dataset, NET, tmp_path / "study")
    with pytest.raises(InvalidSetting, match="TF_CONFIG makes this process worker-1"):
        run_training(load_module(NET), small_dataset, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_all_members_go_back_together_when_the_loss_is_no_number(
    small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    training = {**TRAINING, "on_nan": "roll_back", "steps_per_call": 1}
    options: dict[str, Any] = {"params": {"nan_above": 0.006, "nan_from": 6}, "training": training}
    cluster = train_model(small_dataset, NET, tmp_path / "two", cluster=TWO_WORKERS, **options)
    alone = train_model(small_dataset, NET, tmp_path / "one", **options)
    (back,) = cluster.timeline.roll_backs
    assert (back.step, back.to_step, back.learning_rate) == (6, 4, pytest.approx(0.005))
    assert_same(cluster, alone, difference)


@pytest.mark.slow
def test_containers_give_what_one_process_gives_and_survive_a_kill(
    alone: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    docker_image: str,
    this_python: tuple[Path, ...],
    difference: Callable[..., float],
) -> None:
    result = train_model(
        small_dataset,
        NET,
        tmp_path / "model",
        params={"member": "worker-1", "step": 10, "marker": str(tmp_path / "model" / "marker")},
        training=TRAINING,
        cluster={
            "launcher": "docker",
            "worker": {"replicas": 2, "image": docker_image},
            "mounts": [*map(str, this_python)],
        },
        log_dir=tmp_path / "logs",
    )
    assert [restart.reason for restart in result.restarts] == ["worker-1 ended: killed by signal 9"]
    assert result.resumed_at == 8
    assert_same(result, alone, difference)
    assert len(list((tmp_path / "logs").glob("*/events.*"))) == 4


@pytest.mark.slow
def test_a_full_disk_ends_a_cluster_clearly_and_leaves_what_was_saved(
    two_workers: TrainingResult, small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    """From step 6 on, no file of the chief may grow beyond 1,000 bytes: its log is cut off too."""
    marker = tmp_path / "marker"
    params = {"member": "chief-0", "step": 6, "marker": str(marker), "file_limit": 1_000}
    with pytest.raises(TrainingFailed, match=r"the checkpoint of step 8 .* step-0000000004\.npz is still there: make"):
        train_model(small_dataset, NET, tmp_path / "model", params=params, training=TRAINING, cluster=TWO_WORKERS)
    assert [path.name for path in (tmp_path / "model" / "checkpoints").iterdir()] == ["step-0000000004.npz"]
    result = train_model(small_dataset, NET, tmp_path / "model", params=params, training=TRAINING, cluster=TWO_WORKERS)
    assert result.resumed_at == 4
    assert difference(result, two_workers) == 0.0
