"""Train `hanging.py` as the environment says, as a step does: in the main thread of a process of its own."""

import logging
import os
from pathlib import Path

from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.run import run_training
from trainwright_components.user_module.module import load_module

logging.basicConfig(level=logging.INFO, format="%(message)s")
folder = Path(os.environ["FOLDER"])
run_training(
    load_module(Path(__file__).with_name("hanging.py")),
    Path(os.environ["DATASET"]),
    folder / "model",
    params={"where": os.environ["WHERE"], "how": os.environ["HOW"]},
    settings=TrainingSettings(epochs=10_000, batch_size=10, checkpoint_every_s=0.0, progress_every_s=60.0),
)
