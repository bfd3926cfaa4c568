"""Checkpoints of a training run: each a file that is whole or absent; a damaged one is passed over for the one before.

A file is a NumPy archive (whose entries carry checksums) with every variable, the best weights so far, and where the
training stands as JSON.
"""

import io
import json
import logging
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import TrainingFailed
from trainwright_components.files import write_whole
from trainwright_components.training.recovery.fingerprint import Identity
from trainwright_components.training.recovery.previous import move_file, move_files, place_aside
from trainwright_components.training.timeline import SavedCheckpoint

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

_PATTERN = "step-*.npz"
_PROGRESS = "progress"
_IDENTITY = "fingerprint"
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training run needs to go on.

    Args:
        arrays: Values of variables by name.
        progress: Where the training run stands; plain JSON.
        step: Optimizer steps taken.
        size_bytes: Of the file that it was read from; 0 before it was written.
        identity: Of the training run that wrote it; nothing before it was written.
    """

    arrays: Arrays
    progress: Mapping[str, Any]
    step: int
    size_bytes: int = 0
    identity: Identity = field(default_factory=Identity)


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Checkpoints of another training run.

    Args:
        folder: Where they are now.
        step: Of the newest.
        reasons: In words, why the new training run does not go on from them.
    """

    folder: Path
    step: int
    size_bytes: int
    reasons: Sequence[str]

    def __str__(self) -> str:
        return (
            f"training starts anew: the checkpoints up to step {self.step} are of another training run "
            f"({'; '.join(self.reasons)}). They are kept in {self.folder} ({self.size_bytes:,} bytes) until this one "
            "has ended; started before with what they were trained with, training continues from them"
        )


class CheckpointFolder:
    """The checkpoints of one training.

    Args:
        keep: How many of the newest stay.
        identity: What is trained on what; a checkpoint of another training run is never used.
        is_writer: Whether this process is the one that writes.
    """

    def __init__(self, folder: Path, *, keep: int, identity: Identity, is_writer: bool = True) -> None:
        self._folder, self._keep, self.identity, self._is_writer = folder, keep, identity, is_writer

    def save(self, checkpoint: Checkpoint) -> SavedCheckpoint | None:
        """Write a checkpoint and drop the oldest ones; None from a process that does not write.

        Raises:
            TrainingFailed: The disk does not take it; the checkpoints before stay.
        """
        if not self._is_writer:
            return None
        started = time.monotonic()
        text = json.dumps({_IDENTITY: self.identity.to_json(), "step": checkpoint.step, **checkpoint.progress})
        content = io.BytesIO()
        entries: dict[str, Any] = {_PROGRESS: np.frombuffer(text.encode(), np.uint8), **_storable(checkpoint.arrays)}
        np.savez(content, **entries)
        path = self._folder / checkpoint_name(checkpoint.step)
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            kept = self._paths()
            advice = f"{kept[0].name} is still there: make room and start again" if kept else "make room"
            raise TrainingFailed(
                f"the checkpoint of step {checkpoint.step} ({content.getbuffer().nbytes:,} bytes) cannot be written "
                f"to {self._folder}: {error.strerror}; {advice}"
            ) from error
        for old in self._paths()[self._keep :]:
            old.unlink(missing_ok=True)
        size = content.getbuffer().nbytes
        return SavedCheckpoint(step=checkpoint.step, size_bytes=size, took_s=time.monotonic() - started)

    def tidy(self) -> list[SetAside]:
        """Move checkpoints of others aside and those of this training run back, and drop what a killed process left.

        Other members may look for the newest one meanwhile: each file is in one of both places, and theirs is never
        moved out of sight.
        """
        if not self._is_writer:
            return []
        for partial in self._folder.glob(f".{_PATTERN}.*"):
            partial.unlink(missing_ok=True)
        aside: dict[Path, SetAside] = {}
        for path in reversed(self._paths()):
            identity = _read_identity(path)
            if identity is not None and identity.key != self.identity.key:
                folder = self._place_of(identity)
                size = path.stat().st_size + (aside[folder].size_bytes if folder in aside else 0)
                reasons = self.identity.reasons_against(identity)
                step = int(path.stem.partition("-")[2])
                aside[folder] = SetAside(folder=folder, step=step, size_bytes=size, reasons=reasons)
                move_file(path, folder)
        move_files(self._place_of(self.identity), self._folder)
        return list(aside.values())

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint of this training run that can be read."""
        for path in self._mine():
            try:
                checkpoint = read_checkpoint(_read(path, self._folder))
            except DAMAGED as error:
                logger.warning("checkpoint %s is damaged (%s); trying the one before", path.name, error)
                continue
            if checkpoint.identity.key == self.identity.key:
                return checkpoint
        return None

    def _mine(self) -> list[Path]:
        aside = checkpoint_files(self._place_of(self.identity))  # first: from there they are moved back
        return sorted([*aside, *self._paths()], key=_name, reverse=True)

    def _place_of(self, identity: Identity) -> Path:
        return place_aside(self._folder.parent, identity.key) / self._folder.name

    def _paths(self) -> list[Path]:
        return checkpoint_files(self._folder)


def checkpoint_name(step: int) -> str:
    """The name of the file that holds the checkpoint of `step`."""
    return f"step-{step:010d}.npz"


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of checkpoints in `folder`, newest first."""
    return sorted(folder.glob(_PATTERN), key=os.fspath, reverse=True)


def newest_identity(folder: Path) -> Identity | None:
    """Of which training run the newest file in `folder` is; None where there is none that can be read."""
    return next((_read_identity(path) for path in checkpoint_files(folder)), None)


def read_checkpoint(content: bytes) -> Checkpoint:
    """A checkpoint from its file's content; one of `DAMAGED` when it is."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    progress = json.loads(arrays.pop(_PROGRESS).tobytes())
    identity = Identity.from_json(progress.pop(_IDENTITY))
    step = progress.pop("step")
    return Checkpoint(arrays=arrays, step=step, progress=progress, size_bytes=len(content), identity=identity)


def _read_identity(path: Path) -> Identity | None:
    """Of which training run a file is; an empty identity of a damaged one, None while it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Identity.from_json(json.loads(archive[_PROGRESS].tobytes())[_IDENTITY])
    except OSError:
        return None  # it may be readable again
    except DAMAGED:
        return Identity()


def _read(path: Path, moved_to: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return (moved_to / path.name).read_bytes()


def _name(path: Path) -> str:
    return path.name


def _storable(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """NumPy archives know no bfloat16: such values are stored as their bits."""
    return {name: value.view(np.uint16) if value.dtype.name == "bfloat16" else value for name, value in arrays.items()}
