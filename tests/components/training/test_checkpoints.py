"""Checkpoints are whole or absent, and the newest good one of the same training is found."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from trainwright_components.errors import TrainingFailed
from trainwright_components.training.recovery.checkpoints import Checkpoint, CheckpointFolder


def checkpoint(step: int) -> Checkpoint:
    arrays = {"model.0": np.full((2, 3), step, np.float32), "optimizer.0": np.array(step)}
    return Checkpoint(arrays=arrays, progress={"position": {"step": step, "history": [{"loss": 0.5}]}}, step=step)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f")
    folder.save(checkpoint(7))
    newest = folder.newest()
    assert newest is not None
    assert (newest.step, newest.progress) == (7, checkpoint(7).progress)
    assert {name: value.tolist() for name, value in newest.arrays.items()} == {
        "model.0": [[7.0] * 3] * 2,
        "optimizer.0": 7,
    }


def test_only_the_newest_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f")
    for step in (9, 10, 100):
        folder.save(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000010.npz", "step-0000000100.npz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f")
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    newest = tmp_path / "step-0000000002.npz"
    content = bytearray(newest.read_bytes())
    middle = content.index(np.float32(2).tobytes() * 6)
    content[middle] ^= 1
    damaged: bytes = {
        "cut": bytes(content[: len(content) // 2]),
        "empty": b"",
        "bit": bytes(content),
        "text": b"no archive",
    }[damage]
    newest.write_bytes(damaged)
    found = folder.newest()
    assert found is not None
    assert found.step == 1
    assert "step-0000000002.npz is damaged" in caplog.text


def test_one_of_another_training_is_not_used(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, keep=2, fingerprint="one").save(checkpoint(1))
    assert CheckpointFolder(tmp_path, keep=2, fingerprint="two").newest() is None


def test_those_of_others_go_once_one_is_saved(
    tmp_path: Path, limited_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Also those of later steps, and damaged ones; a save that fails takes none of them."""
    folder, previous = tmp_path / "checkpoints", tmp_path / "previous"
    old = CheckpointFolder(folder, keep=3, fingerprint="old")
    for step in (5, 50, 60):
        old.save(checkpoint(step))
    (folder / "step-0000000070.npz").write_bytes(b"damaged")
    previous.mkdir()
    new = CheckpointFolder(folder, keep=2, fingerprint="new", previous=previous)
    assert new.newest() is None
    with limited_files(100), pytest.raises(TrainingFailed, match=r"cannot be written to .*; make room$"):
        new.save(checkpoint(1))
    assert [len(list(folder.iterdir())), previous.exists()] == [4, True]
    new.save(checkpoint(5))
    assert [path.name for path in folder.iterdir()] == ["step-0000000005.npz"]
    assert not previous.exists()
    found = new.newest()
    assert found is not None
    assert found.step == 5


def test_members_that_are_not_the_chief_write_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f", is_writer=False)
    folder.save(checkpoint(1))
    assert list(tmp_path.iterdir()) == []


def test_half_precision_keeps_its_bits(tmp_path: Path) -> None:
    value = np.array([1.5, -3.0], dtype=ml_dtypes.bfloat16)
    folder = CheckpointFolder(tmp_path, keep=1, fingerprint="f")
    folder.save(Checkpoint(arrays={"v": value}, progress={}, step=1))
    found = folder.newest()
    assert found is not None
    assert found.arrays["v"].view(ml_dtypes.bfloat16).tolist() == [1.5, -3.0]


def test_a_disk_that_does_not_take_a_checkpoint_leaves_the_ones_before(
    tmp_path: Path, limited_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f")
    folder.save(checkpoint(1))
    with (
        limited_files(100),
        pytest.raises(TrainingFailed, match=r"step 2 \([\d,]+ bytes\) cannot be written .* step-0000000001.npz is"),
    ):
        folder.save(checkpoint(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.npz"]
    found = folder.newest()
    assert found is not None
    assert found.step == 1


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, fingerprint="f")
    folder.save(checkpoint(1))
    pid = os.fork()
    if pid == 0:
        with pytest.MonkeyPatch.context() as patch:  # what was written so far has no name yet
            patch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            folder.save(checkpoint(2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    found = folder.newest()
    assert found is not None
    assert found.step == 1
    folder.remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.npz"]
