"""Copies of what is in a storage, and whether it is still the same. Reaches no TensorFlow, as `locations` does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import nearest
from trainwright_components.storage.addresses import is_remote, join, scheme_of
from trainwright_components.storage.google_cloud import GoogleCloudStorage
from trainwright_components.storage.protocol import Entry, Storage
from trainwright_components.storage.s3 import S3Storage

_CHUNK_BYTES = 1 << 20
_CLOUDS: tuple[type[Storage], ...] = (GoogleCloudStorage, S3Storage)

_made: dict[tuple[type[Storage], int], Storage] = {}  # by process, since a forked one may not share its connections


def made(kind: type[Storage]) -> Storage:
    """The storage of this kind, with its connections."""
    key = kind, os.getpid()
    return _made.get(key) or _made.setdefault(key, kind())


def cloud_storage_of(location: str) -> Storage | None:
    """The cloud's storage that has `location`; None for a path, and for a scheme of no cloud that is known here."""
    return next((made(cloud) for cloud in _CLOUDS if scheme_of(location) in cloud.schemes), None)


@contextmanager
def readable(location: str) -> Iterator[None]:
    """Say which file could not be read, and why.

    Raises:
        InvalidSetting: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise InvalidSetting(f"there is no file {location!r}{sibling_hint(location)}") from error
        raise InvalidSetting(f"cannot read {location!r}: {error.strerror or error}") from error


def sibling_hint(location: str) -> str:
    """What may have been meant by a path where nothing is."""
    if is_remote(location):
        return ""
    path = Path(location)
    if not path.parent.is_dir():
        return f"; the folder {str(path.parent)!r} does not exist either"
    if near := nearest(path.name, [entry.name for entry in path.parent.iterdir()]):
        return f"; did you mean {str(path.parent / near)!r}?"
    return "" if path.is_absolute() else f" in {str(Path.cwd())!r}"


def fetch(storage: Storage, location: str, target: Path, *, check: Callable[[], object] = lambda: None) -> None:
    """Copy a file or a folder to the path `target`, where nothing is yet.

    `check` is called again and again meanwhile, and may raise what ends the copying.

    Raises:
        InvalidSetting: It may not be read, or no disk can hold it.
        TargetUnavailable: The storage cannot be reached.
    """
    with readable(location):
        found = storage.find(location)
    if found is None or not found.is_folder:
        _fetch_file(storage, location, target, check)
        return
    target.mkdir()
    entries = _entries(storage, location)
    for entry, following in pairwise(entries):
        if entry.name == following.name:
            raise InvalidSetting(f"{location!r} has a file and a folder called {entry.name!r}; rename one of them")
    for entry in entries:
        if entry.is_folder:
            fetch(storage, join(location, entry.name), target / entry.name, check=check)
        else:
            _fetch_file(storage, join(location, entry.name), target / entry.name, check)


def _entries(storage: Storage, folder: str) -> list[Entry]:
    with readable(folder):
        return sorted(storage.list(folder))


def _fetch_file(storage: Storage, location: str, target: Path, check: Callable[[], object]) -> None:
    with readable(location), storage.open(location) as file, target.open("wb") as copy:
        check()
        while chunk := file.read(_CHUNK_BYTES):
            copy.write(chunk)
            check()


def content_marks(storage: Storage, location: str) -> dict[str, tuple[int, str]]:
    """Size and mark of each file below `location`, by its place there: others once one of them is written again.

    Raises:
        InvalidSetting: Nothing is there, or it may not be looked at.
        TargetUnavailable: The storage cannot be reached.
    """
    return {file.removeprefix(location).strip("/"): mark for file, mark in _marks(storage, location)}


def _marks(storage: Storage, location: str) -> Iterator[tuple[str, tuple[int, str]]]:
    with readable(location):
        found = storage.find(location)
    if found is None:
        raise InvalidSetting(f"there is nothing at {location!r}")
    if not found.is_folder:
        yield location, (found.size_bytes, found.content_mark)
        return
    for entry in _entries(storage, location):
        below = join(location, entry.name)
        if entry.content_mark:
            yield below, (entry.size_bytes, entry.content_mark)
        else:
            yield from _marks(storage, below)
