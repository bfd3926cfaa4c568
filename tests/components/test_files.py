"""Files are whole or absent; digests follow content and leave state alone."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.files import STORE_NAME, content_digest, whole_file, whole_folder, write_whole


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


@pytest.mark.parametrize("is_inside", [True, False])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(os.devnull)])
def test_what_is_no_file_is_refused_and_not_read_for_ever(tmp_path: Path, make: Any, is_inside: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / "odd")
    with pytest.raises(OSError, match="it is a pipe, a socket or a device") as refused:
        content_digest(folder if is_inside else folder / "odd")
    assert refused.value.filename == str(folder / "odd")


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


def test_a_file_that_a_library_writes_is_whole_or_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    with whole_file(file) as partial:
        assert (partial.parent, partial.suffix) == (tmp_path, ".keras")
        partial.write_text("first")
        assert not file.exists()
    with pytest.raises(FileNotFoundError), whole_file(file):
        (tmp_path / "missing").read_text()
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_whole(folder / "old.txt", "old")
    with whole_folder(folder) as beside:
        (beside / "new.txt").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["new.txt"]


# What gcsfuse does by default: files are renamed, folders are not.
RENAME_NO_FOLDERS = """
import errno, os
from pathlib import Path

rename = Path.rename

def rename_files(path, target):
    if path.is_dir():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
    return rename(path, target)

Path.rename = rename_files
"""
DIE_BEFORE_THE_MARKER = """
import shutil, signal
from trainwright_components.files import whole_folder

copy = shutil.copyfile

def copy_until_the_marker(source, target, **more):
    if Path(source).name == "marker.json":
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(source, target, **more)

shutil.copyfile = copy_until_the_marker
with whole_folder(Path("folder"), marker="marker.json") as beside:
    (beside / "a").mkdir()
    for name in ("a/z.txt", "marker.json", "z.txt"):
        (beside / name).write_text(name)
"""


@pytest.fixture
def no_renaming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", Path.rename)  # so that it is put back
    exec(RENAME_NO_FOLDERS, {})


@pytest.mark.usefixtures("no_renaming")
def test_where_folders_cannot_be_renamed_they_are_copied_and_nothing_is_left_beside(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for text in ("old", "new"):
        with whole_folder(folder, marker="marker.json") as beside:
            (beside / "below").mkdir()
            for name in (f"{text}.txt", "marker.json", "below/marker.json"):
                (beside / name).write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert names == ["below", "below/marker.json", "marker.json", "new.txt"]
    assert (folder / "marker.json").read_text() == "new"


@pytest.mark.usefixtures("no_renaming")
@pytest.mark.parametrize("has_modes", [True, False])
def test_a_copied_program_stays_one_where_there_are_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_modes: bool
) -> None:
    def refuse(path: Path, *_: object, **__: Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(path))

    with whole_folder(tmp_path / "folder", marker="run") as beside:
        for name in ("run", "below/run"):
            (beside / name).parent.mkdir(exist_ok=True)
            (beside / name).touch(0o755)
        if not has_modes:
            monkeypatch.setattr(shutil, "copymode", refuse)
    modes = {(tmp_path / "folder" / name).stat().st_mode & 0o111 for name in ("run", "below/run")}
    assert modes == ({0o111} if has_modes else {0})


def test_a_copy_that_was_cut_off_lacks_the_marker_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "marker.json").write_text("old")
    code = RENAME_NO_FOLDERS + DIE_BEFORE_THE_MARKER
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == -9
    names = sorted(path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*"))
    assert names == ["a", "a/z.txt", "z.txt"]
    with whole_folder(tmp_path / "folder", marker="marker.json") as beside:  # the next attempt
        (beside / "marker.json").touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["marker.json"]


@pytest.mark.usefixtures("no_renaming")
def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def copy_without_the_marker() -> None:
        with whole_folder(tmp_path / "folder", marker="marker.json") as beside:
            (beside / "a.txt").touch()

    with pytest.raises(FileNotFoundError):
        copy_without_the_marker()
    assert list(tmp_path.iterdir()) == []


def test_another_failure_of_renaming_is_not_copied_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), whole_folder(tmp_path / "folder"):
        pass
    assert list(tmp_path.iterdir()) == []
