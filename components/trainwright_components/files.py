"""Files that are whole or absent, and digests of their content."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting

STORE_NAME = "store.db"

_CHUNK_BYTES = 1 << 20
# EMFILE: gcsfuse, of any folder, by default (seen; its option --rename-dir-limit)
_FOLDERS_ARE_NOT_RENAMED = (errno.EMFILE, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)/{1,2}")  # a Path makes one slash of two


def check_local(location: str | Path, *, name: str) -> None:
    """Raise `InvalidSetting` for an address such as gs://, which as a path would become a folder called `gs:`."""
    if _SCHEME.match(str(location)):
        shown = _SCHEME.sub(r"\1//", str(location), count=1)
        raise InvalidSetting(f"{name} must be a path on this machine, without a scheme; got {shown}")


def current_folder() -> Path:
    """The folder that relative paths start at.

    Raises:
        InvalidSetting: It was removed meanwhile.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InvalidSetting("the current folder was removed: change to another one, then try again") from error


def write_whole(path: Path, content: str | bytes, *, is_durable: bool = True) -> None:
    """Write `content` beside `path` and rename it into place, so that readers see all of it or none.

    Args:
        path: The file to make or to replace.
        content: All that it is to hold.
        is_durable: Whether to wait until the disk has it; False for what is worth nothing once the machine went down.
    """
    check_local(path, name="a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes 0600; other users' servers read these files  # noqa: PTH101
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # the kernel names no file where writing to one fails
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, with its suffix, whose file takes the place of `path` if the block ends well.

    For what a library writes; the name is always the same, so that one left behind by SIGKILL is written over.
    """
    partial = path.with_name(f".partial.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, marker: str = "") -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes the place of `path` if the block ends well, else vanishes.

    Args:
        path: The folder to make or to replace.
        marker: The file in it that readers know a folder of its kind by, and refuse a folder without. Where folders
            cannot be renamed it is copied last, so that nobody takes a folder for whole whose copying was cut off.
    """
    check_local(path, name="a folder to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    beside.chmod(0o755)
    try:
        yield beside
        if path.is_dir():
            if marker:
                (path / marker).unlink(missing_ok=True)
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        _move_folder(beside, path, marker)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _move_folder(source: Path, target: Path, marker: str) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _FOLDERS_ARE_NOT_RENAMED:
            raise
        try:
            _copy_folder(source, target, marker)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        shutil.rmtree(source, ignore_errors=True)


def _copy_folder(source: Path, target: Path, marker: str) -> None:
    def leave_for_last(folder: str, _names: list[str]) -> set[str]:
        return {marker} if Path(folder) == source else set()

    shutil.copytree(source, target, ignore=leave_for_last, copy_function=_copy_file)
    if marker:
        with whole_file(target / marker) as partial:
            _copy_file(source / marker, partial)


def _copy_file(source: str | Path, target: str | Path) -> None:
    shutil.copyfile(source, target)
    with suppress(OSError):  # storage that is mounted may have no modes to set
        shutil.copymode(source, target)


def content_digest(path: Path) -> str:
    """SHA-256 over the names and bytes of a file, or of all of `files_below` a folder.

    Raises:
        OSError: It cannot be read, or is or holds something else than files and folders, such as a named pipe, in
            which a reader would wait for ever.
    """
    digest = hashlib.sha256()
    files = sorted(files_below(path)) if path.is_dir() else [path]
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file or a folder", str(file))
        digest.update(os.fsencode(name) + f"\0{status.st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, but `__pycache__`, dot-files, and folders of state (those that hold a store).

    Reading the store's files in a process that uses them would drop SQLite's locks.

    Raises:
        OSError: A folder cannot be listed.
    """
    for root, folders, names in os.walk(folder, onerror=_refuse):
        if STORE_NAME in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error


def legible(text: str) -> str:
    """`text` with what UTF-8 cannot hold, such as bytes of a file name in another encoding, written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def is_utf8(value: Any) -> bool:
    """Whether UTF-8 can hold all texts inside `value`."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True
