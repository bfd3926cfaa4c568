"""Parameter servers lose no example, no count and no update, whichever order the workers' steps come in."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from trainwright_components.errors import InvalidModule, InvalidSetting
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.result import TrainingResult

MODULES = Path(__file__).parent / "modules"
NET, COUNTING = MODULES / "net.py", MODULES / "counting.py"
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4}
EPOCHS, ROWS, STEPS = 4, 53, 24


def train(dataset: Path, folder: Path, module: Path = COUNTING, **options: Any) -> TrainingResult:
    options["training"] = {**TRAINING, **options.get("training", {})}
    if module == COUNTING:
        options["params"] = {"own": "step", **options.get("params", {})}
    return train_model(dataset, module, folder / "model", **options)


@pytest.fixture(scope="session")
def counted_alone(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(small_dataset, tmp_path_factory.mktemp("counted_alone"))


@pytest.fixture(scope="session")
def counted(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    folder = tmp_path_factory.mktemp("counted")
    return train(
        small_dataset,
        folder,
        training={"steps_per_call": 6},
        cluster={"chief": 1, "worker": 2, "ps": 2},
        report=folder / "report.html",
        log_dir=folder / "logs",
    )


def assert_same(one: TrainingResult, other: TrainingResult, difference: Callable[..., float]) -> None:
    """Gradients do not depend on the weights here, so the order of steps is all that may differ."""
    assert one.steps == other.steps == STEPS
    assert difference(one, other) < 1e-5
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert ours["rows"] == theirs["rows"] == ROWS
        assert ours["answer"] == theirs["answer"] == 42
        assert ours["weights"] == pytest.approx(theirs["weights"], rel=1e-6)
        for name in ("val_loss", "val_mean_squared_error", "val_weights"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)


@pytest.mark.slow
def test_one_worker_gives_what_one_process_gives(
    small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    """Adam, clipping, BatchNorm, regularisation, weights, a partial last batch."""
    alone = train(small_dataset, tmp_path / "alone", NET)
    served = train(small_dataset, tmp_path / "served", NET, cluster={"worker": 1, "ps": 1})
    assert (served.strategy, served.strategy_reason) == ("parameter_server", "the cluster has parameter servers")
    assert difference(served, alone) < 1e-6
    for ours, theirs in zip(served.history, alone.history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_two_workers_lose_no_row_no_count_and_no_update(
    counted: TrainingResult, counted_alone: TrainingResult, difference: Callable[..., float]
) -> None:
    assert_same(counted, counted_alone, difference)
    with np.load(max((counted.model_folder / "checkpoints").iterdir())) as last:
        assert int(last["optimizer.0"]) == STEPS
        seen = [value for name, value in last.items() if name.startswith("model.") and value.shape == ()]
    assert seen == [EPOCHS * ROWS]


def test_the_chief_leaves_model_logs_and_report(counted: TrainingResult) -> None:
    folder = counted.model_folder
    names = {"model.keras", "module", "params.json", "schema.json", "statistics.json", "training.json", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == names
    assert len(list((folder.parent / "logs").glob("*/events.*"))) == 2
    page = (folder.parent / "report.html").read_text()
    for text in ("parameter_server: the cluster has parameter servers", "chief 1, worker 2, ps 2", "val_loss"):
        assert text in page


@pytest.mark.parametrize(
    ("training", "cluster", "message"),
    [
        ({"strategy": "mirrored"}, {"worker": 2, "ps": 1}, "strategy mirrored has no parameter servers"),
        ({"strategy": "parameter_server"}, {"worker": 2}, "parameter_server needs a cluster such as"),
        ({"variable_partitioner": 2}, {"worker": 2, "ps": 2}, "Keras 3 cannot split a variable"),
    ],
)
def test_settings_that_parameter_servers_cannot_keep_are_refused(
    training: dict[str, Any], cluster: dict[str, Any], message: str, small_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        train(small_dataset, tmp_path, training=training, cluster=cluster)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"compiled_with": "run_eagerly"}, r"counting\.py, which is compiled with run_eagerly"),
        ({"compiled_with": "jit_compile"}, "compiled with jit_compile=True"),
        ({"compiled_with": "gradient_accumulation_steps"}, "a larger batch_size does the same"),
        ({"compiled_with": "loss scaling"}, "mixed_bfloat16 needs none"),
        ({"own": "metric"}, "the metric 'largest' does not only add to its state"),
    ],
)
def test_what_workers_cannot_share_is_refused_before_they_start(
    params: dict[str, str], message: str, small_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModule, match=message):
        train(small_dataset, tmp_path, params=params, cluster={"worker": 2, "ps": 1})


@pytest.mark.parametrize(
    ("victims", "again"),
    [
        ("worker-1", ["worker-1"]),
        pytest.param("worker-0,worker-1", ["worker-0", "worker-1"], marks=pytest.mark.slow),
        pytest.param("chief-0", ["chief-0"], marks=pytest.mark.slow),
        pytest.param("ps-1", ["chief-0", "ps-1"], marks=pytest.mark.slow),
    ],
)
def test_members_killed_in_the_midst_of_steps_cost_no_example(
    counted_alone: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    victims: str,
    again: list[str],
    difference: Callable[..., float],
) -> None:
    result = train(
        small_dataset,
        tmp_path,
        params={"victims": victims, "step": 10, "marker": str(tmp_path / "marker")},
        training={"steps_per_call": 6},
        cluster={"worker": 2, "ps": 2},
        report=tmp_path / "report.html",
    )
    has_lost_steps = "chief-0" in again
    assert result.steps == STEPS
    assert result.resumed_at == (8 if has_lost_steps else 0)
    for ours, theirs in zip(result.history, counted_alone.history, strict=True):
        assert ours["rows"] == ROWS
        assert ours["weights"] == pytest.approx(theirs["weights"], rel=1e-6)
    page = (tmp_path / "report.html").read_text()
    for name in again:
        assert name in page
    if has_lost_steps:  # else at most one step for each lost worker was taken twice
        assert_same(result, counted_alone, difference)


@pytest.mark.slow
def test_a_worker_that_hangs_starts_again(
    small_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop = {"victims": "worker-1", "step": 10, "marker": str(tmp_path / "marker"), "signal": int(signal.SIGSTOP)}
    result = train(
        small_dataset,
        tmp_path,
        params=stop,
        training={"steps_per_call": 6},
        cluster={"worker": 2, "ps": 1, "stall_timeout_s": 8},
    )
    assert "no member has made a step for 8 s: worker-1 hangs; restart 1 of 2" in caplog.messages
    assert (result.steps, result.resumed_at) == (STEPS, 0)
    assert [epoch["rows"] for epoch in result.history] == [ROWS] * EPOCHS


@pytest.mark.slow
def test_sigterm_saves_before_the_servers_go_and_the_training_goes_on(
    small_dataset: Path, tmp_path: Path, difference: Callable[..., float]
) -> None:
    ask = {"step": 10, "victims": str(os.getpid()), "signal": int(signal.SIGTERM), "marker": str(tmp_path / "marker")}
    cluster = {"worker": 2, "ps": 1}
    with pytest.raises(SystemExit) as ended:
        train(small_dataset, tmp_path, params=ask, training={"epochs": 10_000, "steps_per_call": 6}, cluster=cluster)
    assert ended.value.code == 143
    saved = max(int(path.stem.partition("-")[2]) for path in (tmp_path / "model" / "checkpoints").iterdir())
    epochs = {"epochs": saved // (STEPS // EPOCHS) + 2}
    result = train(small_dataset, tmp_path, params=ask, training={**epochs, "steps_per_call": 6}, cluster=cluster)
    alone = train(small_dataset, tmp_path / "alone", training=epochs)
    assert result.resumed_at == saved >= 10
    assert [epoch["rows"] for epoch in result.history] == [ROWS] * epochs["epochs"]
    assert difference(result, alone) < 1e-4 * epochs["epochs"]


@pytest.mark.slow
def test_containers_serve_like_processes(
    counted_alone: TrainingResult,
    small_dataset: Path,
    tmp_path: Path,
    docker_image: str,
    this_python: tuple[Path, ...],
    difference: Callable[..., float],
) -> None:
    image = {"replicas": 1, "image": docker_image}
    result = train(
        small_dataset,
        tmp_path,
        params={"victims": "chief-0", "step": 10, "marker": str(tmp_path / "model" / "marker")},
        cluster={
            "launcher": "docker",
            "mounts": [str(path) for path in this_python],
            **dict.fromkeys(("chief", "worker", "ps"), image),
        },
    )
    assert result.resumed_at == 8
    assert_same(result, counted_alone, difference)


@pytest.mark.slow
def test_no_server_outlives_a_parent_that_is_killed(small_dataset: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from trainwright_components.train_distributed.train import train_model\n"
        f"train_model(Path({str(small_dataset)!r}), {str(COUNTING)!r}, Path({str(tmp_path / 'model')!r}),"
        " training={'epochs': 10_000_000, 'batch_size': 10}, cluster={'worker': 2, 'ps': 1, 'evaluator': 1})\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "TRAINWRIGHT_WARM_SOCKET"}
    with subprocess.Popen([sys.executable, str(script)], env=environ) as parent:
        heartbeats = tmp_path / "model" / "cluster" / "heartbeats"
        deadline = time.monotonic() + 200
        while not (tmp_path / "model" / "evaluator" / "best.npz").exists() and time.monotonic() < deadline:
            assert parent.poll() is None
            time.sleep(0.1)
        assert len(list(heartbeats.glob("*-*"))) >= 5
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 6
        parent.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
