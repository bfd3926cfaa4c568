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
from trainwright_components.training.recovery.fingerprint import Identity


def checkpoint(step: int) -> Checkpoint:
    arrays = {"model.0": np.full((2, 3), step, np.float32), "optimizer.0": np.array(step)}
    return Checkpoint(arrays=arrays, progress={"position": {"step": step, "history": [{"loss": 0.5}]}}, step=step)


def named(data: str) -> Identity:
    return Identity(data=data)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"))
    folder.save(checkpoint(7))
    newest = folder.newest()
    assert newest is not None
    assert (newest.step, newest.progress) == (7, checkpoint(7).progress)
    assert {name: value.tolist() for name, value in newest.arrays.items()} == {
        "model.0": [[7.0] * 3] * 2,
        "optimizer.0": 7,
    }


def test_only_the_newest_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"))
    for step in (9, 10, 100):
        folder.save(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000010.npz", "step-0000000100.npz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"))
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
    CheckpointFolder(tmp_path, keep=2, identity=named("one")).save(checkpoint(1))
    assert CheckpointFolder(tmp_path, keep=2, identity=named("two")).newest() is None


def test_those_of_others_are_set_aside_and_found_again(tmp_path: Path) -> None:
    """Also those of later steps, of an earlier release, and damaged ones; each other training keeps its own."""
    folder = tmp_path / "checkpoints"
    old = CheckpointFolder(folder, keep=3, identity=named("old"))
    for step in (5, 50, 60):
        old.save(checkpoint(step))
    (folder / "step-0000000070.npz").write_bytes(b"damaged")
    entry = np.frombuffer(b'{"fingerprint": "a release before", "step": 71}', np.uint8)
    np.savez(folder / "step-0000000071.npz", progress=entry)
    new = CheckpointFolder(folder, keep=2, identity=named("new"))
    onlooker = CheckpointFolder(folder, keep=2, identity=named("new"), is_writer=False)
    assert [onlooker.tidy(), onlooker.newest(), len(list(folder.iterdir()))] == [[], None, 5]
    aside = {one.step: one for one in new.tidy()}
    assert {step: one.reasons for step, one in aside.items()} == {
        60: ["the dataset is another"],
        71: ["of an earlier release, or damaged"],
    }
    assert f"are kept in {aside[60].folder} ({aside[60].size_bytes:,} bytes)" in str(aside[60])
    assert aside[60].size_bytes == sum(file.stat().st_size for file in aside[60].folder.iterdir())
    assert list(folder.iterdir()) == []
    assert new.newest() is None
    new.save(checkpoint(5))
    found = CheckpointFolder(folder, keep=3, identity=named("old"), is_writer=False).newest()
    assert found is not None
    assert found.step == 60
    old.tidy()
    assert [path.name for path in sorted(folder.iterdir())] == [f"step-00000000{step}.npz" for step in ("05", 50, 60)]
    found = CheckpointFolder(folder, keep=3, identity=named("new"), is_writer=False).newest()
    assert found is not None
    assert found.step == 5


def test_a_file_that_is_moved_back_while_another_member_looks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    one, other = (CheckpointFolder(folder, keep=2, identity=named(name)) for name in ("one", "other"))
    one.save(checkpoint(3))
    other.tidy()
    read = Path.read_bytes

    def moved_meanwhile(path: Path) -> bytes:
        one.tidy()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", moved_meanwhile)
    found = CheckpointFolder(folder, keep=2, identity=named("one"), is_writer=False).newest()
    assert found is not None
    assert found.step == 3


def test_members_that_are_not_the_chief_write_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"), is_writer=False)
    folder.save(checkpoint(1))
    assert list(tmp_path.iterdir()) == []


def test_half_precision_keeps_its_bits(tmp_path: Path) -> None:
    value = np.array([1.5, -3.0], dtype=ml_dtypes.bfloat16)
    folder = CheckpointFolder(tmp_path, keep=1, identity=named("f"))
    folder.save(Checkpoint(arrays={"v": value}, progress={}, step=1))
    found = folder.newest()
    assert found is not None
    assert found.arrays["v"].view(ml_dtypes.bfloat16).tolist() == [1.5, -3.0]


def test_a_disk_that_does_not_take_a_checkpoint_leaves_the_ones_before(
    tmp_path: Path, limited_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"))
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
    folder = CheckpointFolder(tmp_path, keep=2, identity=named("f"))
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
    folder.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.npz"]
