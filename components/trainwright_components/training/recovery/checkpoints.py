"""Checkpoints of a training run: each a file that is whole or absent; a damaged one is passed over for the one before.

A file is a NumPy archive (whose entries carry checksums) with every variable, the best weights so far, and where the
training stands as JSON.
"""

import io
import json
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import TrainingFailed
from trainwright_components.files import write_whole
from trainwright_components.training.timeline import SavedCheckpoint

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

_PATTERN = "step-*.npz"
_PROGRESS = "progress"
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training run needs to go on.

    Args:
        arrays: Values of variables by name.
        progress: Where the training run stands; plain JSON.
        step: Optimizer steps taken.
        size_bytes: Of the file that it was read from; 0 before it was written.
    """

    arrays: Arrays
    progress: Mapping[str, Any]
    step: int
    size_bytes: int = 0


class CheckpointFolder:
    """The checkpoints of one training.

    Args:
        keep: How many of the newest stay.
        fingerprint: What is trained on what; a checkpoint of another training run is never used, and goes only once
            this one has saved its own.
        is_writer: Whether this process is the one that writes.
        previous: Where those of a training run that ended are; it goes then too.
    """

    def __init__(
        self, folder: Path, *, keep: int, fingerprint: str, is_writer: bool = True, previous: Path | None = None
    ) -> None:
        self._folder, self._keep, self._fingerprint, self._is_writer = folder, keep, fingerprint, is_writer
        self._previous, self._has_saved = previous, False

    def save(self, checkpoint: Checkpoint) -> SavedCheckpoint | None:
        """Write a checkpoint and drop the oldest ones and those of others; None from a process that does not write.

        Raises:
            TrainingFailed: The disk does not take it; the checkpoints before stay.
        """
        if not self._is_writer:
            return None
        started = time.monotonic()
        text = json.dumps({"fingerprint": self._fingerprint, "step": checkpoint.step, **checkpoint.progress})
        content = io.BytesIO()
        entries: dict[str, Any] = {_PROGRESS: np.frombuffer(text.encode(), np.uint8), **_storable(checkpoint.arrays)}
        np.savez(content, **entries)
        path = self._folder / checkpoint_name(checkpoint.step)
        others = [] if self._has_saved else [other for other in self._paths() if self._is_others(other)]
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            kept = [one for one in self._paths() if one not in others]
            advice = f"{kept[0].name} is still there: make room and start again" if kept else "make room"
            raise TrainingFailed(
                f"the checkpoint of step {checkpoint.step} ({content.getbuffer().nbytes:,} bytes) cannot be written "
                f"to {self._folder}: {error.strerror}; {advice}"
            ) from error
        for other in others:
            if other != path:
                other.unlink(missing_ok=True)
        if self._previous is not None and not self._has_saved:
            shutil.rmtree(self._previous, ignore_errors=True)
        self._has_saved = True
        for old in self._paths()[self._keep :]:
            old.unlink(missing_ok=True)
        size = content.getbuffer().nbytes
        return SavedCheckpoint(step=checkpoint.step, size_bytes=size, took_s=time.monotonic() - started)

    def remove_leftovers(self) -> None:
        """Drop what a process left that was killed while it wrote."""
        if self._is_writer:
            for partial in self._folder.glob(f".{_PATTERN}.*"):
                partial.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint of this training run that can be read."""
        for path in self._paths():
            try:
                checkpoint, fingerprint = read_checkpoint(path.read_bytes())
            except DAMAGED as error:
                logger.warning("checkpoint %s is damaged (%s); trying the one before", path.name, error)
                continue
            if fingerprint == self._fingerprint:
                return checkpoint
            logger.warning("checkpoint %s is of another training run and is not used", path.name)
        return None

    def _is_others(self, path: Path) -> bool:
        """Whether a file is of another training run, or of none any more."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                fingerprint = json.loads(archive[_PROGRESS].tobytes())["fingerprint"]
        except OSError:
            return False  # it may be readable again
        except DAMAGED:
            return True
        return bool(fingerprint != self._fingerprint)

    def _paths(self) -> list[Path]:
        return checkpoint_files(self._folder)


def checkpoint_name(step: int) -> str:
    """The name of the file that holds the checkpoint of `step`."""
    return f"step-{step:010d}.npz"


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of checkpoints in `folder`, newest first."""
    return sorted(folder.glob(_PATTERN), key=os.fspath, reverse=True)


def read_checkpoint(content: bytes) -> tuple[Checkpoint, str]:
    """A checkpoint from its file's content, and the fingerprint of its training; one of `DAMAGED` when it is."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    progress = json.loads(arrays.pop(_PROGRESS).tobytes())
    fingerprint = progress.pop("fingerprint")
    step = progress.pop("step")
    return Checkpoint(arrays=arrays, step=step, progress=progress, size_bytes=len(content)), fingerprint


def _storable(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """NumPy archives know no bfloat16: such values are stored as their bits."""
    return {name: value.view(np.uint16) if value.dtype.name == "bfloat16" else value for name, value in arrays.items()}
