"""The objective that trains a model module. Runs in the trial's process, beside TensorFlow."""

import json
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidModule, TrainwrightError
from trainwright_components.files import write_whole
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.run import run_training
from trainwright_components.tuning.objective import MODEL_FOLDER, TrialContext
from trainwright_components.user_module.module import load_module


def train(
    trial: TrialContext, *, module: str, dataset: str, params: dict[str, Any], training: dict[str, Any], metric: str
) -> dict[str, float]:
    """Train with the trial's parameters over `params`, reporting each epoch; refused where none will have `metric`."""
    result = run_training(
        load_module(module),
        Path(dataset),
        trial.folder / MODEL_FOLDER,
        params={**params, **trial.params},
        settings=TrainingSettings.from_mapping(training),
        on_epoch_end=trial.report,
        asked={"tuning.metric": metric},
    )
    return result.metrics


def describe_module(*, module: str, output: str) -> None:
    """Write what the controller needs of a module, for it does not import user code itself."""
    try:
        loaded = load_module(module)
        found: dict[str, Any] = {"params": dict(loaded.default_params), "search_space": dict(loaded.search_space)}
    except TrainwrightError as error:
        found = {
            "problem": str(error),
            "user_traceback": error.user_traceback,
            "is_contract": isinstance(error, InvalidModule),
        }
    write_whole(Path(output), json.dumps(found))
