"""A training run that fails leaves a page that says of what, and how far it came."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting, TrainingFailed, UserCodeError
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.unfinished import UNFINISHED_FILE

NET = Path(__file__).parent / "modules" / "net.py"
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4, "steps_per_call": 1}


@pytest.fixture
def options(small_dataset: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a training run that is watched at each step."""
    return {
        "dataset": small_dataset,
        "module": NET,
        "output": tmp_path / "model",
        "training": TRAINING,
        "report": tmp_path / "report.html",
    }


def failed_page(options: dict[str, Any], kind: type[Exception], message: str, **more: Any) -> str:
    """The page of a training run that has to fail."""
    with pytest.raises(kind, match=message) as caught:
        train_model(**options, **more)
    page: str = options["report"].read_text()
    assert "<h1>Training that failed</h1>" in page
    warning = re.search('<p class="warning">(.*?)</p>', page, re.DOTALL)
    assert warning is not None
    assert warning[1].split("\n")[0] == str(caught.value).split("\n")[0].replace("'", "&#39;")
    return page


def rows_of(page: str) -> dict[str, str]:
    """The two-column tables as one mapping; of equal names the first counts."""
    return dict(reversed(re.findall(r"<tr><td>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", page)))


def test_a_loss_that_is_no_number_is_reported_with_the_steps_before_it(options: dict[str, Any]) -> None:
    page = failed_page(options, TrainingFailed, "step 9", params={"nan_above": 0.001, "nan_from": 8})
    assert "step-0000000008.npz is still there" in page
    rows = rows_of(page)
    assert (rows["epochs"], rows["steps"], rows["cluster"]) == ("1", "8", "this process")
    assert float(rows["val_loss"]) > 0
    assert page.count("<svg") >= 1
    train_model(**options)
    page = options["report"].read_text()
    assert "<h1>Training</h1>" in page
    assert (rows_of(page)["nan_above"], rows_of(page)["shuffle_buffer"]) == ("1", "10,000"), "defaults"
    assert not (options["output"] / UNFINISHED_FILE).exists()


def test_the_time_until_a_failure_is_told_without_a_checkpoint(options: dict[str, Any]) -> None:
    options["training"] = {**TRAINING, "checkpoint_every_steps": 0}
    page = failed_page(options, TrainingFailed, "step 9", params={"nan_above": 0.001, "nan_from": 8})
    assert "There is no checkpoint: started again" in page
    rows = rows_of(page)
    assert float(rows["seconds"]) > 0
    speed, steps = float(rows["examples per second"]), int(rows["steps"])
    assert speed == pytest.approx(steps * 10 / float(rows["seconds"]), rel=0.01)


def test_a_failure_right_after_a_checkpoint_is_told_by_who_knows_more(options: dict[str, Any]) -> None:
    page = failed_page(options, TrainingFailed, "step 9", params={"nan_above": 0.001, "nan_from": 8})
    assert rows_of(page)["strategy"].startswith("one_device: ")


@pytest.mark.parametrize("cluster", [{}, pytest.param({"worker": 2}, marks=pytest.mark.slow)])
def test_what_another_training_left_in_the_folder_is_not_told(
    options: dict[str, Any], cluster: dict[str, int], tmp_path: Path
) -> None:
    failed_page(options, TrainingFailed, "step 9", params={"nan_above": 0.001, "nan_from": 8})
    other = tmp_path / "other.py"
    other.write_text("def build_model(context):\n    raise RuntimeError('on purpose')\n")
    page = failed_page({**options, "module": other}, UserCodeError, "on purpose", cluster=cluster)
    assert "There is no checkpoint: started again" in page
    assert (rows_of(page)["steps"], rows_of(page)["epochs"]) == ("0", "0")


def test_an_unreadable_record_does_not_hide_what_happened(options: dict[str, Any]) -> None:
    failed_page(options, TrainingFailed, "step 9", params={"nan_above": 0.001, "nan_from": 8})
    (options["output"] / UNFINISHED_FILE).write_text("{}")
    other = options["report"].with_name("other.py")
    other.write_text("def build_model(context):\n    raise RuntimeError('on purpose')\n")
    with pytest.raises(UserCodeError, match="on purpose"):
        train_model(**{**options, "module": other, "cluster": {"worker": 2}})


def test_an_exception_of_the_users_is_reported_with_their_lines(options: dict[str, Any], tmp_path: Path) -> None:
    params = {"member": "worker-1", "step": 7, "marker": str(tmp_path / "marker"), "error": True}
    page = failed_page(options, UserCodeError, "wrong on purpose", params=params, cluster={"worker": 2})
    assert "raise RuntimeError(&#34;wrong on purpose&#34;)" in page
    assert rows_of(page)["cluster"] == "worker 2"
    assert int(rows_of(page)["steps"]) in (4, 6, 7)  # of the chief, which may end before it has written


@pytest.mark.slow
def test_a_member_lost_too_often_is_reported_by_the_newest_checkpoint(options: dict[str, Any], tmp_path: Path) -> None:
    params = {"member": "chief-0", "step": 10, "marker": str(tmp_path / "marker"), "signal": int(signal.SIGKILL)}
    cluster = {"worker": 2, "max_restarts": 0}
    page = failed_page(options, TrainingFailed, "worker-0 ended: killed by signal 9", params=params, cluster=cluster)
    rows = rows_of(page)
    assert (rows["steps"], rows["epochs"]) == ("8", "1")
    assert "step-0000000008.npz is still there" in page


@pytest.mark.slow
def test_restarts_are_reported_also_when_they_did_not_help(options: dict[str, Any]) -> None:
    params, cluster = {"member": "worker-1", "step": 10}, {"worker": 2, "max_restarts": 1}
    said = "killed by signal 9 after 1 restart; no more are allowed by cluster.max_restarts=1, which can"
    page = failed_page(options, TrainingFailed, said, params=params, cluster=cluster)
    restart = page.partition("<h2>Restarts</h2>")[2]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", restart)[1:4:2] == [
        "worker-1 ended: killed by signal 9",
        "worker-0, worker-1",
    ]


def test_what_was_refused_before_it_began_is_no_failed_training(options: dict[str, Any]) -> None:
    options["training"] = {**TRAINING, "strategy": "multi_worker_mirrored"}
    with pytest.raises(InvalidSetting):
        train_model(**options)
    assert not options["report"].exists()
