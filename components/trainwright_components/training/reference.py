"""The training on one device that others are compared with: the first steps of it, in a process of its own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainwright_components.errors import TrainwrightError, first_line
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.recovery.checkpoints import Arrays
from trainwright_components.training.recovery.model_state import read_weights
from trainwright_components.training.run import run_training
from trainwright_components.training.timeline import Equivalence
from trainwright_components.user_module.module import load_module

if TYPE_CHECKING:
    import keras


class _Reached(Exception):
    """The last step that is wanted has been taken."""


@dataclass(kw_only=True)
class _Record:
    step: int
    weights: Arrays = field(default_factory=dict)

    def look_at(self, model: "keras.Model") -> Equivalence | None:
        self.weights = read_weights(model)
        raise _Reached


def train_reference(
    *,
    module: str,
    dataset: str,
    output: str,
    params: dict[str, Any],
    training: dict[str, Any],
    steps: int,
    weights: str,
) -> int:
    """Train `steps` steps and write the weights; the exit code is 1, and the last line says why, when that fails."""
    record = _Record(step=steps)
    try:
        run_training(
            load_module(module),
            Path(dataset),
            Path(output),
            params=params,
            settings=TrainingSettings.from_mapping(training),
            watch=record,
        )
    except _Reached:
        np.savez(weights, allow_pickle=False, **record.weights)
        return 0
    except TrainwrightError as error:
        print(first_line(error))
        return 1
    print(f"the training run ended before step {steps}")
    return 1
