"""The page about a training run shows what happened along its way."""

import html
import re
from pathlib import Path

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.cluster.supervisor import Restart
from trainwright_components.train_distributed.figures import draw_timeline
from trainwright_components.train_distributed.report import write_report
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.training.timeline import Point, RollBack, SavedCheckpoint, Timeline
from trainwright_components.user_module.module import load_module

TIMELINE = Timeline(
    points=[
        Point(step=10, at_s=1.0, examples_per_second=640.0, learning_rate=0.1),
        Point(step=30, at_s=2.0, examples_per_second=1280.0, learning_rate=0.05),
    ],
    checkpoints=[SavedCheckpoint(step=20, size_bytes=4321, took_s=0.25, at_s=1.5)],
    roll_backs=[RollBack(step=25, to_step=20, reason="the loss became nan", learning_rate=0.05)],
    resumed_at=[10],
)


def test_the_page_tells_speed_checkpoints_returns_and_restarts(tmp_path: Path) -> None:
    result = TrainingResult(
        history=[{"loss": 2.0, "val_loss": 2.5}, {"loss": 1.0, "val_loss": 1.5}],
        metrics={"loss": 1.0},
        steps=30,
        seconds=2.0,
        model_folder=tmp_path,
        strategy="multi_worker_mirrored",
        strategy_reason="the cluster has 2 training members",
        replicas=2,
        timeline=TIMELINE,
        restarts=(Restart(reason="worker-1 ended: killed by signal 9", after_s=1.25, step=12, took_s=3.5),),
    )
    cluster = ClusterSpec.from_mapping({"worker": 2})
    write_report(tmp_path / "page.html", result, settings=TrainingSettings(), params={"units": 8}, cluster=cluster)
    page = (tmp_path / "page.html").read_text()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    for expected in (
        ["25", "20", "0.05", "the loss became nan"],
        ["20", "1.5", "4,321", "0.25"],
        ["1.25", "worker-1 ended: killed by signal 9", "12"],
        ["cluster", "worker 2"],
        ["strategy", "multi_worker_mirrored: the cluster has 2 training members"],
        ["units", "8"],
    ):
        assert any(cells[start : start + len(expected)] == expected for start in range(len(cells))), expected
    assert page.count("<svg") == 2


def test_parameter_servers_are_not_counted_as_replicas(tmp_path: Path) -> None:
    result = TrainingResult(history=[], metrics={}, steps=1, seconds=1.0, model_folder=tmp_path)
    cluster = ClusterSpec.from_mapping({"worker": 2, "ps": 1})
    write_report(tmp_path / "page.html", result, settings=TrainingSettings(), params={}, cluster=cluster)
    assert "2 workers, 1 parameter server" in (tmp_path / "page.html").read_text()


def test_speed_and_rate_are_drawn_over_the_steps() -> None:
    speed, rate = draw_timeline(TIMELINE).axes
    assert speed.lines[0].get_xydata().tolist() == [[10, 640], [30, 1280]]
    assert rate.lines[0].get_xydata().tolist() == [[10, 0.1], [30, 0.05]]


def test_a_timeline_keeps_a_bounded_number_of_points_with_the_speed_between_them() -> None:
    timeline = Timeline()
    for second in range(1, 2000):
        timeline.note(step=10 * second, at_s=float(second), batch_size=32, learning_rate=0.1)
        timeline.note(step=10 * second + 1, at_s=second + 0.5, batch_size=32, learning_rate=0.1)
    assert 200 <= len(timeline.points) <= 400
    assert {point.examples_per_second for point in timeline.points} == {320.0}
    assert Timeline.from_json(timeline.to_json()) == timeline


def test_a_batch_larger_than_the_data_is_told_before_it_is_trained_with(small_dataset: Path, tmp_path: Path) -> None:
    module = load_module(Path(__file__).parent / "modules" / "net.py")
    settings = TrainingSettings(epochs=1, batch_size=54)
    result = run_training(module, small_dataset, tmp_path / "model", settings=settings)
    [note] = result.notes
    assert note.startswith("batch larger than the data: training.batch_size is 54, but there are about 53 rows")
    assert note.endswith("--set training.batch_size=4")
    write_report(tmp_path / "page.html", result, settings=settings, params={}, cluster=ClusterSpec())
    assert note in html.unescape((tmp_path / "page.html").read_text())
