"""Version folders under a model base path: find, stage, publish whole, withdraw. Knows files, nothing of servers."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from trainwright_components.errors import InvalidSetting

STAGE_PREFIX = ".candidate-"
WITHDRAWN_PREFIX = ".withdrawn-"
LOCK_NAME = ".deploy.lock"
_Version = TypeVar("_Version", int, str)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")


def check_name(name: str) -> None:
    """Raise `InvalidSetting` for a `model_name` that no URL and no folder takes."""
    if not _NAME.fullmatch(name):
        raise InvalidSetting(
            f"model_name must be 1 to 127 letters, digits, '.', '_' or '-', the first a letter or digit, got {name!r}"
        )


def check_base_path(base_path: Path) -> None:
    """Raise `InvalidSetting` for a folder that cannot be made or written to; leaves nothing behind."""
    try:
        there = next(each for each in (base_path, *base_path.parents) if each.exists() or each.is_symlink())
        if not there.is_dir():
            raise InvalidSetting(f"serving.base_path {base_path} cannot be made: {there} is not a folder")
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InvalidSetting(f"serving.base_path {base_path} cannot be written to: {error.strerror}") from error


def list_versions(base_path: Path) -> list[int]:
    """The versions published under `base_path`, lowest first."""
    if not base_path.is_dir():
        return []
    return sorted(int(child.name) for child in base_path.iterdir() if _is_version(child))


def live_version(base_path: Path) -> int | None:
    """The version that is served, or would be: see `newest_filled`."""
    return newest_filled(
        list_versions(base_path), lambda version: not any(version_folder(base_path, version).iterdir())
    )


def newest_filled(versions: Sequence[_Version], is_empty: Callable[[_Version], bool]) -> _Version | None:
    """The last of `versions`, which are in order; an empty folder is one that is not there yet, unless all are."""
    return next((each for each in reversed(versions) if not is_empty(each)), versions[-1] if versions else None)


def version_folder(base_path: Path, version: int) -> Path:
    """The folder of a published version, whatever zeros its name begins with."""
    for child in base_path.iterdir():
        if _is_version(child) and int(child.name) == version:
            return child
    return base_path / str(version)


@contextmanager
def staged_copy(saved_model: Path, base_path: Path, version: int) -> Iterator[Path]:
    """A complete copy of `saved_model` on the disk of `base_path`, under a name that no server looks at.

    Yields:
        A folder that holds the copy as `<version>/`: a base path of its own. It is gone when the block ends.

    Raises:
        InvalidSetting: `base_path` cannot be written to, or the disk is full.
    """
    try:
        stage = Path(tempfile.mkdtemp(dir=base_path, prefix=STAGE_PREFIX))
    except OSError as error:
        raise InvalidSetting(f"cannot write to {base_path}: {error.strerror}") from error
    try:
        stage.chmod(0o755)  # mkdtemp makes 0700; a server may run as another user
        copy = stage / str(version)
        try:
            shutil.copytree(saved_model, copy)
            _sync_tree(copy)
        except (OSError, shutil.Error) as error:
            raise InvalidSetting(f"cannot copy {saved_model} to {base_path}: {error}") from error
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, base_path: Path, version: int) -> Path:
    """Move the staged copy into place in one step.

    Raises:
        InvalidSetting: That version is there already.
    """
    target = base_path / str(version)
    try:
        (stage / str(version)).rename(target)
    except OSError as error:
        raise InvalidSetting(f"cannot publish version {version} as {target}: {error.strerror}") from error
    _sync(base_path)
    return target


def withdraw(base_path: Path, version: int) -> None:
    """Take a published version out of every server's sight and remove it."""
    aside = Path(tempfile.mkdtemp(dir=base_path, prefix=f"{WITHDRAWN_PREFIX}{version}-"))
    version_folder(base_path, version).rename(aside / "model")
    _sync(base_path)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(base_path: Path) -> None:
    """Remove what a publisher left behind that was killed; call it with the deploy lock held."""
    for child in base_path.iterdir():
        if child.name.startswith((STAGE_PREFIX, WITHDRAWN_PREFIX)):
            shutil.rmtree(child, ignore_errors=True)


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdigit() and path.is_dir()


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
