"""The study's folder: a record per trial, written whole before and after it runs, so that a kill loses no result.

durations.json          seconds that the study and its unfinished trials have run so far
study.json              settings, space and all trials, for people and other tools
trials/3/trial.json     what the controller knows of the trial; the truth that a resumed study starts from
trials/3/...            what the trial itself leaves: log.txt, measurements.jsonl, outcome.json, model/
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import write_whole
from trainwright_components.processes.locks import LockTaken, acquire
from trainwright_components.tuning.objective import MEASUREMENTS_FILE, OUTCOME_FILE, STOP_FILE
from trainwright_components.tuning.study import Study, Trial, TrialState
from trainwright_components.tuning.vertex_records import FORMAT, read_trial, study_record, trial_record

STUDY_FILE = "study.json"
_TRIAL_FILE = "trial.json"
_DURATIONS_FILE = "durations.json"
_LOCK_FILE = ".lock"


class TrialStore:
    """Reads and writes a study's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trial_folder(self, trial_id: int) -> Path:
        """Where a trial runs."""
        return self.folder / "trials" / str(trial_id)

    def trials(self) -> list[Trial]:
        """All recorded trials, by id."""
        files = (self.folder / "trials").glob(f"*/{_TRIAL_FILE}")
        return sorted((read_trial(json.loads(file.read_text())) for file in files), key=lambda trial: trial.id)

    def save_trial(self, trial: Trial) -> None:
        """Record a trial as it is now."""
        write_whole(self.trial_folder(trial.id) / _TRIAL_FILE, json.dumps(trial_record(trial), indent=1))

    def outcome(self, trial_id: int) -> dict[str, Any] | None:
        """What the trial's process left at its end; None if it has not come that far."""
        file = self.trial_folder(trial_id) / OUTCOME_FILE
        outcome: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
        return outcome

    def prepare_retry(self, trial: Trial) -> None:
        """Clear the signs of the attempt before; of one that was cut short, measurements and checkpoints stay."""
        folder = self.trial_folder(trial.id)
        if trial.state is TrialState.INFEASIBLE:
            shutil.rmtree(folder)
            folder.mkdir()
            return
        for name in (OUTCOME_FILE, STOP_FILE):
            (folder / name).unlink(missing_ok=True)
        measurements = folder / MEASUREMENTS_FILE
        if measurements.is_file():
            whole = [line for line in measurements.read_text().splitlines(keepends=True) if line.endswith("\n")]
            write_whole(measurements, "".join(whole))

    def save_study(self, study: Study) -> None:
        """Write the record for people and other tools."""
        write_whole(self.folder / STUDY_FILE, json.dumps(study_record(study), indent=1))

    def durations(self) -> tuple[float, dict[int, float]]:
        """Seconds that the study has run, and its unfinished trials by id."""
        file = self.folder / _DURATIONS_FILE
        if not file.is_file():
            return 0.0, {}
        record = json.loads(file.read_text())
        return float(record["study"]), {int(trial): float(seconds) for trial, seconds in record["trials"].items()}

    def save_durations(self, study_s: float, trials_s: Mapping[int, float]) -> None:
        """Record how long the study and its unfinished trials have run."""
        write_whole(self.folder / _DURATIONS_FILE, json.dumps({"study": study_s, "trials": dict(trials_s)}))

    def make_room_for(self, study: Study) -> None:
        """Keep what the folder holds of the same study; clear away another one that has no results.

        Raises:
            InvalidSetting: The folder holds results of another space, goal, module, dataset or training, or a newer
                release wrote it.
        """
        file = self.folder / STUDY_FILE
        if not file.is_file():
            return
        found = json.loads(file.read_text())
        if (written := found["trainwright"].get("format", 1)) > FORMAT:
            raise InvalidSetting(
                f"{self.folder} holds a study that a newer release of trainwright wrote (format {written}; this "
                f"release knows {FORMAT}): use that release, or name a new folder"
            )
        differences = _differences(study_record(study), found)
        if not differences:
            return
        if any(trial.state is TrialState.SUCCEEDED for trial in self.trials()):
            raise InvalidSetting(
                f"{self.folder} holds the results of a study with other {', other '.join(differences)}: "
                "use the same, or name a new folder"
            )
        shutil.rmtree(self.folder / "trials", ignore_errors=True)
        (self.folder / _DURATIONS_FILE).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            InvalidSetting: Another process runs this study.
        """
        try:
            lock = acquire(self.folder / _LOCK_FILE, timeout_s=0)
        except LockTaken as error:
            raise InvalidSetting(f"another process is running the study in {self.folder}") from error
        try:
            yield
        finally:
            os.close(lock)


def _differences(mine: dict[str, Any], found: dict[str, Any]) -> list[str]:
    different = [key for key in ("metrics", "parameters") if mine["studySpec"][key] != found["studySpec"][key]]
    if mine["studySpec"]["algorithm"] != found["studySpec"]["algorithm"] or (
        mine["trainwright"]["algorithm"] != found["trainwright"].get("algorithm", mine["trainwright"]["algorithm"])
    ):
        different.append("algorithm")
    if mine["trainwright"]["fingerprint"] != found["trainwright"]["fingerprint"]:
        different.append("module, dataset, params or training settings")
    return different
