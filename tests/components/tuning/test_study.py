"""Studies of arithmetic objectives in forked processes: optimum, totals, failures, stopping, kill and resume."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.cloud.aiplatform_v1.types import Trial as VertexTrial
from google.protobuf import json_format

from trainwright_components.errors import InvalidSetting, TrainingFailed
from trainwright_components.hyperparameter_tune.study_report import study_report
from trainwright_components.tuning.study import Study, TrialState

REAL = {"x": {"type": "double", "min_value": -10.0, "max_value": 10.0}}
ONE_TO_FOUR = {"x": {"type": "discrete", "values": [1, 2, 3, 4]}}

RunStudy = Callable[..., Study]


def values(study: Study) -> list[float | None]:
    return [trial.value("score") for trial in study.trials]


def test_tpe_comes_close_to_the_known_optimum_and_closer_than_chance(tune: RunStudy, tmp_path: Path) -> None:
    best = tune("parabola", REAL, max_trial_count=24, parallel_trial_count=2).best
    assert best is not None
    assert abs(float(best.params["x"]) - 3.0) < 0.6  # 24 draws by chance come this close 3 times in 4
    kept = [path.parent.name for path in (tmp_path / "study" / "trials").glob("*/model")]
    assert kept == [str(best.id)], "only the best trial's model is kept"


def test_tpe_learns_from_results(tune: RunStudy) -> None:
    study = tune("parabola", REAL, max_trial_count=30, parallel_trial_count=1, seed=3)
    distances = [abs(float(trial.params["x"]) - 3.0) for trial in study.trials]
    assert sum(distances[20:]) / 10 < sum(distances[:10]) / 10 / 2


def test_grid_search_tries_each_point_once_and_then_ends(tune: RunStudy) -> None:
    study = tune("as_told", ONE_TO_FOUR, algorithm="GRID_SEARCH", max_trial_count=100, goal="MINIMIZE")
    assert sorted(trial.params["x"] for trial in study.trials) == [1, 2, 3, 4]
    assert study.best is not None
    assert study.best.params == {"x": 1}


def test_as_many_trials_run_at_once_as_were_asked_for(tune: RunStudy, tmp_path: Path) -> None:
    (tmp_path / "met").mkdir()
    options = {"folder": str(tmp_path / "met"), "others": 3}
    study = tune("meet", REAL, options=options, max_trial_count=3, parallel_trial_count=3)
    assert values(study) == [3.0, 3.0, 3.0]


def test_the_total_is_kept_whatever_the_number_in_parallel(tune: RunStudy) -> None:
    study = tune("as_told", REAL, max_trial_count=5, parallel_trial_count=4)
    assert [trial.id for trial in study.trials] == [1, 2, 3, 4, 5]


def test_random_points_do_not_depend_on_the_number_in_parallel(tune: RunStudy, tmp_path: Path) -> None:
    first = tune("as_told", REAL, algorithm="RANDOM_SEARCH", max_trial_count=4, parallel_trial_count=1, seed=5)
    (tmp_path / "study").rename(tmp_path / "first")
    second = tune("as_told", REAL, algorithm="RANDOM_SEARCH", max_trial_count=4, parallel_trial_count=3, seed=5)
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]


def test_the_first_trial_has_the_starting_point(tune: RunStudy) -> None:
    assert tune("as_told", REAL, max_trial_count=2, start={"x": 9.5}).trials[0].params == {"x": 9.5}


def test_a_failed_trial_shows_its_reason_and_the_study_goes_on(tune: RunStudy, tmp_path: Path) -> None:
    study = tune("raise_above", ONE_TO_FOUR, options={"limit": 3}, algorithm="GRID_SEARCH", max_trial_count=4)
    failed = study.trials[3]
    assert (failed.state, failed.reason) == (TrialState.INFEASIBLE, "ValueError: x is over 3")
    assert study.best is not None
    assert study.best.params == {"x": 3}
    assert "raise ValueError" in (tmp_path / "study" / "trials" / "4" / "log.txt").read_text()


def test_a_study_whose_trials_all_fail_gives_up_and_says_why(tune: RunStudy, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed) as caught:
        tune("raise_above", REAL, options={"limit": -11}, max_trial_count=50, parallel_trial_count=1)
    log = tmp_path / "study" / "trials" / "5" / "log.txt"
    reason = "ValueError: x is over -11 (trial 1, 2, 3, 4, 5)"
    assert str(caught.value) == f"5 of 5 trials failed, none succeeded: {reason}. Log of the last: {log}"


def test_the_limit_of_failed_trials_ends_the_study(tune: RunStudy) -> None:
    with pytest.raises(
        TrainingFailed, match=r"2 of 4 trials failed, which is the limit \(tuning.max_failed_trial_count"
    ):
        tune(
            "raise_above",
            {"x": {"type": "integer", "min_value": 1, "max_value": 9}},
            options={"limit": 2},
            algorithm="GRID_SEARCH",
            max_trial_count=9,
            max_failed_trial_count=2,
            parallel_trial_count=1,
        )


def test_a_metric_that_is_no_number_makes_the_trial_fail(tune: RunStudy) -> None:
    with pytest.raises(TrainingFailed, match="score is nan at step 2: the training run diverged"):
        tune("diverge", REAL, max_trial_count=1)


def test_a_metric_that_was_not_reported_is_named_with_those_that_were(tune: RunStudy) -> None:
    with pytest.raises(TrainingFailed, match=r"metric 'score' was not reported .*; reported: accuracy, loss"):
        tune("forget_the_metric", REAL, max_trial_count=1)


def test_a_killed_trial_runs_once_more_with_the_same_parameters(tune: RunStudy) -> None:
    [trial] = tune("die_once", REAL, max_trial_count=1).trials
    assert (trial.state, trial.attempt, trial.value("score")) == (TrialState.SUCCEEDED, 2, 1.0)


def test_a_trial_that_is_killed_each_time_fails(tune: RunStudy) -> None:
    with pytest.raises(TrainingFailed, match=r"ended by SIGKILL, again \(out of memory is the usual cause\)"):
        tune("die", REAL, max_trial_count=1)


def test_median_stopping_ends_the_hopeless_trial_alone(tune: RunStudy, tmp_path: Path) -> None:
    limits = {"max_trial_count": 4, "parallel_trial_count": 1, "algorithm": "GRID_SEARCH", "goal": "MINIMIZE"}
    stopping = {"median_stopping": True, "median_stopping_min_trials": 3}
    study = tune("curve", ONE_TO_FOUR, options={"slow": 4}, **limits, **stopping)
    assert [trial.is_stopped_early for trial in study.trials] == [False, False, False, True]
    assert [len(trial.measurements) for trial in study.trials[:3]] == [5, 5, 5]
    assert len(study.trials[3].measurements) == 2, "it stood at 4, worse than the median of 1, 2 and 3"
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    assert record["trainwright"]["stoppedEarly"] == ["4"]


@pytest.mark.parametrize(("selection", "expected"), [("LAST", 2.0), ("BEST", 5.0)])
def test_the_measurement_that_counts_is_the_last_or_the_best(tune: RunStudy, selection: str, expected: float) -> None:
    [trial] = tune("peak", REAL, max_trial_count=1, measurement_selection=selection).trials
    assert trial.value("score") == expected
    assert [measurement.step_count for measurement in trial.measurements] == [1, 2, 3]


def test_the_record_is_what_vertex_reads(tune: RunStudy, tmp_path: Path) -> None:
    tune("raise_above", ONE_TO_FOUR, options={"limit": 3}, algorithm="GRID_SEARCH", max_trial_count=4)
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    trials = [VertexTrial(json_format.ParseDict(trial, VertexTrial.pb()())) for trial in record["trials"]]
    assert [trial.state.name for trial in trials] == ["SUCCEEDED"] * 3 + ["INFEASIBLE"]
    assert [trial.final_measurement.metrics[0].value for trial in trials[:3]] == [1.0, 2.0, 3.0]
    assert trials[0].parameters[0].parameter_id == "x"
    assert trials[3].infeasible_reason == "ValueError: x is over 3"
    assert all(trial.end_time >= trial.start_time for trial in trials)
    assert "optuna" not in json.dumps(record).lower()


def test_a_finished_study_is_not_run_again_and_a_larger_one_goes_on(tune: RunStudy) -> None:
    first = tune("as_told", REAL, max_trial_count=3)
    again = tune("as_told", REAL, max_trial_count=3)
    assert again.trials == first.trials
    more = tune("as_told", REAL, max_trial_count=5)
    assert more.trials[:3] == first.trials
    assert len(more.trials) == 5


def test_a_folder_with_another_study_is_refused(tune: RunStudy) -> None:
    tune("as_told", REAL, max_trial_count=1)
    with pytest.raises(InvalidSetting, match="holds the results of a study with other parameters: use the same"):
        tune("as_told", ONE_TO_FOUR, max_trial_count=1)


def test_results_of_other_code_or_data_are_not_gone_on_with(tune: RunStudy) -> None:
    tune("as_told", REAL, max_trial_count=1, fingerprint="before")
    with pytest.raises(InvalidSetting, match="other module, dataset, params or training settings"):
        tune("as_told", REAL, max_trial_count=2, fingerprint="after")


def test_a_study_that_failed_runs_its_failed_trials_again(tune: RunStudy) -> None:
    grid: dict[str, Any] = {"algorithm": "GRID_SEARCH", "max_trial_count": 4, "max_failed_trial_count": 2}
    with pytest.raises(TrainingFailed):
        tune("raise_above", ONE_TO_FOUR, options={"limit": 2}, parallel_trial_count=1, **grid)
    study = tune("raise_above", ONE_TO_FOUR, options={"limit": 4}, **grid)
    assert values(study) == [1.0, 2.0, 3.0, 4.0]
    assert [trial.attempt for trial in study.trials] == [1, 1, 2, 2]


def test_a_failed_study_without_results_gives_way_to_another(tune: RunStudy) -> None:
    with pytest.raises(TrainingFailed):
        tune("raise_above", REAL, options={"limit": -11}, max_trial_count=2, fingerprint="before")
    study = tune("as_told", ONE_TO_FOUR, max_trial_count=2, fingerprint="after")
    assert [trial.attempt for trial in study.trials] == [1, 1]


def test_the_report_holds_its_plots_and_every_trial(tune: RunStudy) -> None:
    space: dict[str, Any] = {
        **REAL,
        "kind": {"type": "categorical", "values": ["a", "b"]},
        "rate": {
            "type": "double",
            "min_value": 0.1,
            "max_value": 1,
            "when": {"kind": ["b"]},
            "scale_type": "UNIT_LOG_SCALE",
        },
    }
    page = study_report(tune("parabola", space, max_trial_count=8), params={"depth": 7}, training={"batch_size": 64})
    assert "<td>params.depth</td><td>7</td>" in page.replace(' class="number"', "")
    assert "<td>training.batch_size</td><td>64</td>" in page.replace(' class="number"', "")
    for heading in ("History", "Importance", "Parallel coordinates", "Trials", "Settings"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<svg") == 3
    assert page.count("<td>succeeded</td>") == 8


def test_the_report_of_a_single_trial_says_what_it_cannot_know(tune: RunStudy) -> None:
    assert "Too few different results" in study_report(tune("as_told", REAL, max_trial_count=1), params={}, training={})


CONTROLLER = """
import logging, sys
from pathlib import Path
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.tuning.controller import run_study
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import TuningSettings
from trainwright_components.tuning.runners.forked import ForkedTrials

objectives, folder = sys.argv[1:]
settings = TuningSettings.from_mapping({"metric": "score", "goal": "MAXIMIZE", "max_trial_count": 6, "seed": 1})
space = parse_space({"x": {"type": "double", "min_value": 0.0, "max_value": 1.0}})
with WarmParent.start(preload=()) as parent:
    runner = ForkedTrials(parent=parent, objective=f"{objectives}:wait_for", options={"folder": folder, "count": 3})
    study = run_study(Path(folder, "study"), space, settings, runner)
    assert "tensorflow" not in sys.modules
    print(*[(trial.id, trial.attempt) for trial in study.trials])
"""


def start_controller(objectives: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CONTROLLER, str(objectives), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_after_a_kill_of_everything_finished_trials_are_not_repeated(objectives: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with start_controller(objectives, tmp_path) as controller:
        wait_until(lambda: begun.exists() and begun.read_text().count("\n") == 5)  # three are done, two wait
        below = psutil.Process(controller.pid).children(recursive=True)
        for process in [psutil.Process(controller.pid), *below]:
            with contextlib.suppress(psutil.NoSuchProcess):  # trials end by themselves when the controller is gone
                process.send_signal(signal.SIGKILL)
    psutil.wait_procs(below, timeout=10)
    assert len(below) == 3, "the warm process and two trials"
    assert not any(map(is_alive, below))

    (tmp_path / "go").touch()
    with start_controller(objectives, tmp_path) as controller:
        said, _ = controller.communicate(timeout=60)
    assert said.strip() == "(1, 1) (2, 1) (3, 1) (4, 2) (5, 2) (6, 1)"
    starts = [line.split() for line in begun.read_text().splitlines()]
    assert sorted(int(trial) for trial, _ in starts) == [1, 2, 3, 4, 4, 5, 5, 6]
    assert len({(trial, x) for trial, x in starts}) == 6, "a trial that runs again has the same parameters"


def test_two_controllers_cannot_run_one_study(objectives: Path, tune: RunStudy, tmp_path: Path) -> None:
    with start_controller(objectives, tmp_path) as controller:
        wait_until((tmp_path / "begun").exists)
        with pytest.raises(InvalidSetting, match="another process is running the study"):
            tune("as_told", REAL, max_trial_count=1)
        controller.kill()


def test_the_folder_of_a_newer_release_is_refused(tune: RunStudy, tmp_path: Path) -> None:
    tune("as_told", REAL, max_trial_count=1)
    file = tmp_path / "study" / "study.json"
    record = json.loads(file.read_text())
    record["trainwright"]["format"] += 1
    file.write_text(json.dumps(record))
    with pytest.raises(InvalidSetting, match=r"a newer release of trainwright wrote \(format 2; this release knows 1"):
        tune("as_told", REAL, max_trial_count=2)
    assert json.loads(file.read_text()) == record


def test_a_study_of_the_first_release_goes_on_and_another_algorithm_does_not(tune: RunStudy, tmp_path: Path) -> None:
    tune("as_told", REAL, max_trial_count=1)
    file = tmp_path / "study" / "study.json"
    record = json.loads(file.read_text())
    for name in ("format", "algorithm"):  # what it did not write
        del record["trainwright"][name]
    file.write_text(json.dumps(record))
    with pytest.raises(InvalidSetting, match="holds the results of a study with other algorithm: use the same"):
        tune("as_told", REAL, max_trial_count=2, algorithm="RANDOM_SEARCH")
    assert len(tune("as_told", REAL, max_trial_count=2).trials) == 2
