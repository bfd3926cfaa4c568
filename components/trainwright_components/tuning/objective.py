"""The side of a trial: what an objective function gets, and how its measurements and its end reach the controller.

Everything goes through files in the trial's folder, so that a trial may run in any process that sees it.
"""

import importlib
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, TrainwrightError, UserCodeError
from trainwright_components.files import write_whole
from trainwright_components.tuning.space import Value
from trainwright_components.tuning.study import Measurement
from trainwright_components.tuning.vertex_records import measurement_record, read_measurement
from trainwright_components.user_module.from_source import spec_from_source

MEASUREMENTS_FILE = "measurements.jsonl"
OUTCOME_FILE = "outcome.json"
STOP_FILE = "stop"
MODEL_FOLDER = "model"
LOG_FILE = "log.txt"


class TrialContext:
    """What an objective is called with: its parameters, a folder of its own, and `report`.

    Of the folder, `model/` is kept for the best trial and removed for all others.
    """

    def __init__(self, folder: Path, params: Mapping[str, Value]) -> None:
        self.folder = folder
        self.params = dict(params)
        self.is_stopped_early = False
        self._started = time.monotonic()

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record measurements; True asks the objective to return now, for the trial is no longer promising."""
        numbers = {name: float(value) for name, value in metrics.items()}
        measurement = Measurement(step_count=step, metrics=numbers, elapsed_s=time.monotonic() - self._started)
        with (self.folder / MEASUREMENTS_FILE).open("a") as file:
            file.write(json.dumps(measurement_record(measurement)) + "\n")
        self.is_stopped_early = (self.folder / STOP_FILE).exists()
        return self.is_stopped_early


def run_trial(*, folder: str, objective: str, params: dict[str, Value], options: dict[str, Any]) -> int:
    """Call `objective(trial, **options)` and leave its outcome in `folder`; the exit code says whether it succeeded.

    The objective is named as `package.module:function` or `file.py:function`; it returns its final metrics, or None
    when it has reported them.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    place = Path(folder)
    trial = TrialContext(place, params)
    try:
        metrics = _load(objective)(trial, **options) or {}
        numbers = {name: float(value) for name, value in metrics.items()}
        outcome: dict[str, Any] = {"metrics": numbers, "is_stopped_early": trial.is_stopped_early}
    except Exception as error:
        logging.getLogger(__name__).exception("trial failed")
        outcome = {"reason": _reason(error), "user_traceback": getattr(error, "user_traceback", "")}
    write_whole(place / OUTCOME_FILE, json.dumps(outcome))
    return 1 if "reason" in outcome else 0


def _load(objective: str) -> Callable[..., Mapping[str, float] | None]:
    place, _, name = objective.rpartition(":")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), name)  # type: ignore[no-any-return]  # named by its caller
    spec = spec_from_source(Path(place).stem, Path(place))
    if spec is None or spec.loader is None:
        raise InvalidSetting(f"cannot import the objective from {place}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]  # named by its caller


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    if isinstance(error, TrainwrightError | UserCodeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def read_measurements(folder: Path) -> list[Measurement]:
    """What the trial has reported; a line that is still being written is left for the next time."""
    path = folder / MEASUREMENTS_FILE
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    by_step = {m.step_count: m for m in (read_measurement(json.loads(x)) for x in lines if x.endswith("\n"))}
    return [by_step[step] for step in sorted(by_step)]
