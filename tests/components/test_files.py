"""Files are whole or absent; digests follow content and leave state alone."""

from pathlib import Path

import pytest

from trainwright_components.files import STORE_NAME, content_digest, whole_folder, write_whole


def test_digest_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_whole(folder / "a.txt", "one")
    before = content_digest(folder)
    write_whole(folder / "a.txt", "two")
    changed = content_digest(folder)
    (folder / "a.txt").rename(folder / "b.txt")
    assert len({before, changed, content_digest(folder)}) == 3


def test_digest_does_not_open_a_store(tmp_path: Path) -> None:
    write_whole(tmp_path / "model.py", "code")
    before = content_digest(tmp_path)
    write_whole(tmp_path / "home" / STORE_NAME, "state")
    write_whole(tmp_path / "home" / "runs" / "log.txt", "more state")
    assert content_digest(tmp_path) == before


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_whole(folder / "old.txt", "old")

    def fail_half_way() -> None:
        with whole_folder(folder) as beside:
            (beside / "new.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old.txt"]


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_whole(folder / "old.txt", "old")
    with whole_folder(folder) as beside:
        (beside / "new.txt").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
