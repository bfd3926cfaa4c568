"""TensorBoard logs: one point per epoch and metric, training and validation as two runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_VALIDATION = "val_"


class TensorBoardLogs:
    """Writes below `folder`; call `close` at the end."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._writers: dict[str, Any] = {
            name: tf.summary.create_file_writer(str(folder / name)) for name in ("train", "validation")
        }

    def write(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of epoch number `epoch`."""
        import tensorflow as tf

        for name, value in metrics.items():
            split = "validation" if name.startswith(_VALIDATION) else "train"
            with self._writers[split].as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix(_VALIDATION)}", value, step=epoch)

    def close(self) -> None:
        """Write out what is buffered."""
        for writer in self._writers.values():
            writer.close()
