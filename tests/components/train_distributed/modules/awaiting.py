"""Text to add to another module: the last epoch begins when the file that the parameter `awaited` names is there."""

import time
from pathlib import Path
from typing import Any

import keras

from trainwright_components.user_module.module import Context


def callbacks(context: Context) -> list[keras.callbacks.Callback]:
    return [_Awaiting(Path(context.params["awaited"]))]


class _Awaiting(keras.callbacks.Callback):
    def __init__(self, awaited: Path) -> None:
        super().__init__()
        self.awaited = awaited

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        deadline = time.monotonic() + 60
        while epoch == self.params["epochs"] - 1 and not self.awaited.exists():
            assert time.monotonic() < deadline, f"{self.awaited} never came"
            time.sleep(0.05)
