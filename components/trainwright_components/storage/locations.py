"""Files by path or address alike: find, list, read, write and publish them, each in the storage of its scheme."""

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import files_below, whole_folder
from trainwright_components.storage.addresses import base_name, is_remote, join, parent, scheme_of
from trainwright_components.storage.copies import fetch, made, readable, sibling_hint
from trainwright_components.storage.google_cloud import GoogleCloudStorage
from trainwright_components.storage.local import LocalStorage
from trainwright_components.storage.protocol import Entry, Storage
from trainwright_components.storage.s3 import S3Storage
from trainwright_components.storage.tensorflow_files import TensorFlowStorage

STORAGES: tuple[type[Storage], ...] = (LocalStorage, GoogleCloudStorage, S3Storage, TensorFlowStorage)
_BY_SCHEME: Mapping[str, type[Storage]] = {scheme: storage for storage in STORAGES for scheme in storage.schemes}
_PATTERN_SIGNS = "*?["
_UNPACK: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def storage_of(location: str) -> Storage:
    """The storage that has `location`; TensorFlow's for a scheme that no other has."""
    return made(_BY_SCHEME.get(scheme_of(location), TensorFlowStorage))


@contextmanager
def open_binary(location: str) -> Iterator[IO[bytes]]:
    """Open a file for reading; `.gz`, `.bz2` and `.xz` are unpacked on the way.

    Raises:
        InvalidSetting: There is no such file, it may not be read, or it turns out to be damaged while it is unpacked.
    """
    with readable(location):
        opened = storage_of(location).open(location)
    with opened as file:
        unpack = next((open_ for suffix, open_ in _UNPACK.items() if location.endswith(suffix)), None)
        if unpack is None:
            yield file
            return
        try:
            with unpack(file) as unpacked:
                yield unpacked
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None) is not None:  # of the disk; what these modules find has no number
                raise
            raise InvalidSetting(f"cannot unpack {location!r}: {error}; pack it again") from error


def read_bytes(location: str) -> bytes:
    """All bytes of a file.

    Raises:
        InvalidSetting: There is no such file, or it may not be read.
    """
    with readable(location), storage_of(location).open(location) as file:
        return file.read()


def find(location: str) -> Entry | None:
    """What is at `location`; None for nothing.

    Raises:
        InvalidSetting: It may not be looked at.
    """
    with readable(location):
        return storage_of(location).find(location)


def size_bytes(location: str) -> int:
    """The size of a file."""
    with readable(location):
        entry = storage_of(location).find(location)
        if entry is None:
            raise FileNotFoundError(location)
        return entry.size_bytes


def is_folder(location: str) -> bool:
    """Whether `location` is a folder that can be listed."""
    entry = find(location)
    return entry is not None and entry.is_folder


def exists(location: str) -> bool:
    """Whether there is a file or a folder at `location`."""
    return find(location) is not None


def list_entries(folder: str) -> list[Entry]:
    """All that is directly in a folder, by name.

    Raises:
        InvalidSetting: There is none, or it may not be listed.
    """
    with readable(folder):
        return sorted(storage_of(folder).list(folder))


def list_folder(folder: str) -> list[str]:
    """The full locations of what is in a folder, sorted, without hidden entries."""
    return [join(folder, entry.name) for entry in list_entries(folder) if not entry.name.startswith((".", "_"))]


def expand(location: str) -> list[str]:
    """The files that `location` names: itself, or what its `*`, `?` and `[` match, sorted.

    Raises:
        InvalidSetting: Nothing is there.
    """
    if exists(location):
        return [location]
    if any(sign in location for sign in _PATTERN_SIGNS):
        if found := sorted(set(_matching(location))):  # a bucket can have a file and a folder of one name
            return found
        raise InvalidSetting(f"no file matches {location!r}")
    raise InvalidSetting(f"there is no file or folder {location!r}{sibling_hint(location)}")


def _matching(pattern: str) -> list[str]:
    """As a shell does: a sign matches within one part, and nothing hidden that the pattern does not begin with."""
    if not any(sign in pattern for sign in _PATTERN_SIGNS):
        return [pattern] if exists(pattern) else []
    name = base_name(pattern)
    folders = _matching(parent(pattern))
    if not any(sign in name for sign in _PATTERN_SIGNS):
        return [path for folder in folders if exists(path := join(folder, name))]
    return [
        join(folder, entry.name)
        for folder in folders
        if is_folder(folder)
        for entry in list_entries(folder)
        if fnmatchcase(entry.name, name) and not (entry.name.startswith(".") and not name.startswith("."))
    ]


@contextmanager
def local_copy(location: str) -> Iterator[Path]:
    """A path to read a file or a folder at: itself, or a copy that is gone when the block ends.

    Raises:
        InvalidSetting: Nothing is there, or it may not be read.
    """
    if not is_remote(location):
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix="trainwright-copy-") as folder:
        target = Path(folder, base_name(location))
        fetch(storage_of(location), location, target)
        yield target


def publish(source: Path, location: str, *, marker: str) -> None:
    """Copy a folder to `location`; the file `marker` comes last, so that with it all others are there.

    What is at `location` already is replaced by it, without `marker` meanwhile. Of a local folder readers see all or
    nothing.

    Raises:
        InvalidSetting: `source` has no `marker`.
        OSError: It cannot be written.
        TargetUnavailable: The storage cannot be reached.
    """
    names = {path.relative_to(source).as_posix() for path in files_below(source)}
    if marker not in names:
        raise InvalidSetting(f"{source} has no {marker}, by which readers know that it is whole")
    if not is_remote(location):
        with whole_folder(Path(location), marker=marker) as partial:
            _write_all(source, names, str(partial))
        return
    storage = storage_of(location)
    storage.remove(join(location, marker))
    if (found := find(location)) is not None and not found.is_folder:
        storage.remove(location)  # readers would take it for the folder
    for old in _files_below(location) if is_folder(location) else ():
        if old.removeprefix(location).strip("/") not in names:
            storage.remove(old)
    _write_all(source, names - {marker}, location)
    _write_all(source, {marker}, location)


def _write_all(source: Path, names: Collection[str], location: str) -> None:
    storage = storage_of(location)
    for name in sorted(names):
        storage.write(join(location, name), source / name, replace=True)


def _files_below(location: str) -> Iterator[str]:
    for entry in list_entries(location):
        path = join(location, entry.name)
        yield from _files_below(path) if entry.is_folder else (path,)
