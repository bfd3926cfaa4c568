"""The evaluator scores checkpoints beside the training, whatever its strategy, and its death harms nothing."""

from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster.spec import Member
from trainwright_components.errors import InvalidSetting
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.evaluations import BEST_CHECKPOINT
from trainwright_components.training.result import TrainingResult

MODULES = Path(__file__).parent / "modules"
TRAINING = {"epochs": 3, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 6, "keep_checkpoints": 10}


def train(
    dataset: Path, folder: Path, cluster: dict[str, int], module: str = "net.py", params: Any = None
) -> TrainingResult:
    return train_model(
        dataset,
        MODULES / module,
        folder / "model",
        params=params,
        training=TRAINING,
        cluster=cluster,
        log_dir=folder / "logs",
        report=folder / "report.html",
    )


def assert_scored(result: TrainingResult) -> None:
    """Each checkpoint lies at the end of an epoch, after which the training itself scored the same weights."""
    assert [(one.step, one.epoch) for one in result.evaluations] == [(6, 0), (12, 1), (18, 2)]
    for evaluation, epoch in zip(result.evaluations, result.history, strict=True):
        assert evaluation.metrics == pytest.approx(
            {name: value for name, value in epoch.items() if name.startswith("val_")}, abs=1e-5
        )
    best = min(result.evaluations, key=lambda one: one.metrics["val_loss"])
    assert result.best_checkpoint["best_checkpoint_step"] == best.step
    assert result.best_checkpoint["best_checkpoint_val_loss"] == best.metrics["val_loss"]
    saved = result.model_folder / "checkpoints" / f"step-{best.step:010d}.npz"
    assert (result.model_folder / BEST_CHECKPOINT).read_bytes() == saved.read_bytes()
    page = (result.model_folder.parent / "report.html").read_text()
    assert "Checkpoints, as the evaluator scored them" in page
    assert len(list((result.model_folder.parent / "logs" / "evaluator").glob("events.*"))) >= 1


@pytest.mark.parametrize(
    "cluster",
    [
        {"evaluator": 1},
        pytest.param({"worker": 2, "evaluator": 1}, marks=pytest.mark.slow),
        pytest.param({"worker": 1, "ps": 1, "evaluator": 1}, marks=pytest.mark.slow),
    ],
)
def test_each_checkpoint_is_scored(cluster: dict[str, int], small_dataset: Path, tmp_path: Path) -> None:
    assert_scored(train(small_dataset, tmp_path, cluster))


def test_a_killed_evaluator_starts_again_alone_and_goes_on(
    small_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = {"victims": "evaluator-0", "marker": str(tmp_path / "marker")}
    result = train(small_dataset, tmp_path, {"evaluator": 1}, "counting.py", params)
    assert "evaluator-0 ended: killed by signal 9; restart 1 of 2" in caplog.messages
    assert result.resumed_at == 0
    assert_scored(result)


def test_an_evaluator_without_anything_to_score_is_refused(small_dataset: Path, tmp_path: Path) -> None:
    module = tmp_path / "own.py"
    module.write_text((MODULES / "net.py").read_text() + "\n\ndef train(context):\n    return build_model(context)\n")
    with pytest.raises(InvalidSetting, match=r"own\.py has its own train\(context\), which writes none"):
        train_model(small_dataset, module, tmp_path / "model", cluster={"evaluator": 1})


@pytest.mark.parametrize("has_callbacks", [True, False])
@pytest.mark.parametrize("cluster", [{"evaluator": 1}, pytest.param({"worker": 2}, marks=pytest.mark.slow)])
def test_a_monitor_that_is_no_metric_ends_a_cluster(
    cluster: dict[str, int], has_callbacks: bool, small_dataset: Path, tmp_path: Path
) -> None:
    """At the end of the first epoch where callbacks could bring metrics, else before it."""
    module = tmp_path / "net.py"
    text = (MODULES / "net.py").read_text()
    module.write_text(text if has_callbacks else text.replace("def callbacks(", "def no_callbacks("))
    training = {**TRAINING, "checkpoint_every_steps": 2, "monitor": "val_acuracy"}
    with pytest.raises(InvalidSetting, match=r"unknown metric 'val_acuracy' in training\.monitor; there are: loss,"):
        train_model(small_dataset, module, tmp_path / "model", training=training, cluster=cluster)
    assert not (tmp_path / "model" / BEST_CHECKPOINT).exists()
    assert any((tmp_path / "model").glob("checkpoints/step-*")) == has_callbacks


def test_the_evaluator_is_no_part_of_the_training() -> None:
    from trainwright_components.cluster.rules import EVALUATOR, members_to_restart
    from trainwright_components.cluster.spec import ClusterSpec

    spec = ClusterSpec.from_mapping({"worker": 2, "evaluator": 1})
    assert members_to_restart({Member(role="worker", index=1)}, spec) == set(spec.members) - {EVALUATOR}
    assert members_to_restart({EVALUATOR}, spec) == {EVALUATOR}
