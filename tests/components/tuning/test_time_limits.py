"""Limits of time: trials that hang in every way, what they leave behind, the study's own limit, and kill -9 between."""

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
from google.cloud.aiplatform_v1.types import CustomJobSpec, StudySpec
from google.protobuf import json_format

from trainwright_components.errors import InvalidSetting, TrainingFailed
from trainwright_components.hyperparameter_tune.study_report import study_report
from trainwright_components.tuning.objective import MEASUREMENTS_FILE, OUTCOME_FILE
from trainwright_components.tuning.study import Study, TrialState, TuningSettings

RunStudy = Callable[..., Study]

ONE_TO_FOUR = {"x": {"type": "discrete", "values": [1, 2, 3, 4]}}
GRID: dict[str, Any] = {"algorithm": "GRID_SEARCH", "max_trial_count": 4}
INFEASIBLE, STOPPING, SUCCEEDED = TrialState.INFEASIBLE, TrialState.STOPPING, TrialState.SUCCEEDED


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


class Leaps:
    """A clock that stands still until the study is where the test wants it, and then leaps at each look."""

    def __init__(self, leap_s: float, is_due: Callable[[], bool]) -> None:
        self.leap_s, self.is_due, self.leaps = leap_s, is_due, 0

    def __call__(self) -> float:
        self.leaps += self.is_due()
        return self.leaps * self.leap_s


def only_hangs(trial_id: int, folder: Path) -> Callable[[], bool]:
    """Whether this trial has reported, and every other one that began has ended."""

    def is_due() -> bool:
        others = [each for each in folder.glob("study/trials/*") if each.name != str(trial_id)]
        has_reported = (folder / "study" / "trials" / str(trial_id) / MEASUREMENTS_FILE).is_file()
        return has_reported and all((each / OUTCOME_FILE).is_file() for each in others)

    return is_due


@pytest.mark.parametrize(("way", "parallel"), [("python", 1), ("c", 2)])
def test_a_trial_that_hangs_is_ended_at_its_limit_and_the_study_goes_on(
    tune: RunStudy, tmp_path: Path, way: str, parallel: int
) -> None:
    options, clock = {"at": 2, "way": way}, Leaps(700.0, only_hangs(2, tmp_path))
    limits = {"max_trial_duration_s": 600, "parallel_trial_count": parallel}
    study = tune("hang", ONE_TO_FOUR, options=options, clock=clock, **limits, **GRID)
    hung = study.trials[1]
    assert states(study) == [SUCCEEDED, INFEASIBLE, SUCCEEDED, SUCCEEDED]
    assert hung.reason == "the trial ran longer than 600 s (tuning.max_trial_duration_s) and was ended"
    assert (hung.attempt, len(hung.measurements)) == (1, 1)
    assert study.best is not None
    assert study.best.params == {"x": 4}, "the 99 that the hung trial reported does not count"


def test_a_hung_trial_takes_its_helpers_with_it(tune: RunStudy, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    options, clock = {"at": 1, "folder": str(pids)}, Leaps(700.0, lambda: len(list(pids.iterdir())) == 4)
    grid = {**GRID, "max_trial_count": 1}
    with pytest.raises(TrainingFailed, match="the trial ran longer than 600 s"):
        tune("hang_with_helpers", ONE_TO_FOUR, options=options, clock=clock, max_trial_duration_s=600, **grid)
    helpers = [int(file.name) for file in pids.iterdir()]
    assert len(helpers) == 4
    assert not [pid for pid in helpers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_the_limit_of_the_study_ends_it_with_the_best_so_far_and_a_larger_one_goes_on(
    tune: RunStudy, tmp_path: Path
) -> None:
    options, is_due = {"at": 2, "way": "python"}, only_hangs(2, tmp_path)
    limits: dict[str, Any] = {"max_duration_s": 200, "parallel_trial_count": 1, **GRID}
    study = tune("hang", ONE_TO_FOUR, options=options, clock=Leaps(250.0, is_due), **limits)
    assert states(study) == [SUCCEEDED, STOPPING]
    assert study.best is not None
    assert study.best.params == {"x": 1}
    assert study.trials[1].reason == "cut short: the study's time was over (tuning.max_duration_s)"
    assert "<td>cut short</td>" in study_report(study, params={}, training={})

    again = tune("hang", ONE_TO_FOUR, options=options, **limits)
    assert again.trials == study.trials, "its time is still over"

    clock = Leaps(10.0, is_due)
    more = tune(
        "hang", ONE_TO_FOUR, options=options, clock=clock, max_duration_s=3600, max_trial_duration_s=300, **GRID
    )
    assert states(more) == [SUCCEEDED, INFEASIBLE, SUCCEEDED, SUCCEEDED]
    assert more.trials[1].attempt == 2
    assert clock.leaps < 10, "the 250 s that it ran before the study was cut short count; 300 s anew are 30 leaps"


def test_a_study_whose_time_is_over_before_any_trial_has_a_result_says_so(tune: RunStudy, tmp_path: Path) -> None:
    expected = (
        r"no trial has a result\. The study's time is over: it ran 12\.0 s \(tuning.max_duration_s is 10\); "
        r"0 of 4 trials have ended, 1 cut short\. With a larger limit the study is resumed where it is"
    )
    limits: dict[str, Any] = {"max_duration_s": 10, "parallel_trial_count": 1, **GRID}
    clock = Leaps(12.0, only_hangs(1, tmp_path))
    for _ in range(2):  # the second finds its time over
        with pytest.raises(TrainingFailed, match=expected):
            tune("hang", ONE_TO_FOUR, options={"at": 1, "way": "c"}, clock=clock, **limits)


def test_a_study_of_trials_that_all_hang_gives_up_with_the_reason(tune: RunStudy) -> None:
    with pytest.raises(TrainingFailed, match=r"1 of 1 trials failed, none succeeded: the trial ran longer than 0.5 s"):
        tune(
            "hang",
            {"x": {"type": "discrete", "values": [1]}},
            options={"at": 1, "way": "c"},
            max_trial_duration_s=0.5,
            algorithm="GRID_SEARCH",
            max_trial_count=1,
        )


CONTROLLER = """
import json, sys
from pathlib import Path
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.tuning.controller import run_study
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import TuningSettings
from trainwright_components.tuning.runners.forked import ForkedTrials

objectives, folder, leap_s, most = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
limits = {"max_trial_count": 1, "max_trial_duration_s": 300, "max_duration_s": 3600}
settings = TuningSettings.from_mapping({"metric": "score", "goal": "MAXIMIZE", "algorithm": "GRID_SEARCH", **limits})
leaps = 0

def clock():
    global leaps
    leaps += leaps < most and (folder / "study/trials/1/measurements.jsonl").is_file()
    return leaps * leap_s

with WarmParent.start(preload=()) as parent:
    runner = ForkedTrials(parent=parent, objective=f"{objectives}:hang", options={"at": 1, "way": "c"})
    space = parse_space({"x": {"type": "discrete", "values": [1]}})
    try:
        run_study(folder / "study", space, settings, runner, clock=clock)
    finally:
        print(leaps)
"""


def test_after_kill_9_the_time_that_has_passed_still_counts(objectives: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(objectives), str(tmp_path)]
    durations = tmp_path / "study" / "durations.json"

    def passed() -> dict[str, float]:
        trials: dict[str, float] = json.loads(durations.read_text())["trials"] if durations.is_file() else {}
        return trials

    with subprocess.Popen([*command, "50", "5"], env={**os.environ, "OMP_NUM_THREADS": "1"}) as controller:
        deadline = time.monotonic() + 120
        while passed().get("1", 0.0) < 200:
            assert controller.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        controller.send_signal(signal.SIGKILL)
    ended = subprocess.run([*command, "10", "1000"], capture_output=True, text=True, timeout=120, check=False)
    assert "the trial ran longer than 300 s" in ended.stderr
    assert 5 <= int(ended.stdout) < 15, "after 200 s or 250 s of before; a whole limit anew would be 30 leaps"
    assert passed() == {}


def test_the_record_says_the_limits_as_vertex_does(tune: RunStudy, tmp_path: Path) -> None:
    tune("as_told", ONE_TO_FOUR, max_duration_s=90, max_trial_duration_s=7.5, **GRID)
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    spec = StudySpec(json_format.ParseDict(record["studySpec"], StudySpec.pb()()))
    assert spec.study_stopping_config.maximum_runtime_constraint.max_duration.seconds == 90
    job = CustomJobSpec(json_format.ParseDict(record["trialJobSpec"], CustomJobSpec.pb()()))
    assert job.scheduling.timeout.total_seconds() == 7.5


@pytest.mark.parametrize("name", ["max_duration_s", "max_trial_duration_s"])
@pytest.mark.parametrize("value", [-1, "60s", True, float("nan"), float("inf")])
def test_a_limit_that_is_not_a_number_of_seconds_is_refused(name: str, value: Any) -> None:
    expected = "at least 0" if value == -1 else "a number of seconds"
    with pytest.raises(InvalidSetting, match=rf"tuning\.{name} must be {expected}, got"):
        TuningSettings.from_mapping({name: value})
