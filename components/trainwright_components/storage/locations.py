"""Local and remote paths alike: open, list, expand. TensorFlow's file systems serve what has a scheme (gs://)."""

import glob
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import nearest

_REMOTE_BUFFER_BYTES = 1 << 20


def is_remote(location: str) -> bool:
    """Whether `location` needs TensorFlow's file systems."""
    return "://" in location


def normalize(location: str) -> str:
    """`location` without `file://` and with `~` resolved."""
    if location.startswith("file://"):
        location = location.removeprefix("file://")
    return location if is_remote(location) else str(Path(location).expanduser())


@contextmanager
def open_binary(location: str) -> Iterator[IO[bytes]]:
    """Open a file for reading; `.gz` is unpacked on the way.

    Raises:
        InvalidSetting: There is no such file, or it may not be read.
    """
    with _opened(location) as file:
        if not location.endswith(".gz"):
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked  # type: ignore[misc]  # GzipFile is a binary stream in all but name


def _opened(location: str) -> IO[bytes]:
    try:
        if not is_remote(location):
            return Path(location).open("rb")
        return io.BufferedReader(_RemoteFile(location), _REMOTE_BUFFER_BYTES)
    except Exception as error:
        raise _unreadable(location, error) from error


class _RemoteFile(io.RawIOBase):
    """TensorFlow's GFile as a Python stream."""

    def __init__(self, location: str) -> None:
        self._file: Any = _gfile().GFile(location, "rb")
        self._size = int(self._file.size())  # GFile opens late; this makes it fail here

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._file.seek(start + offset)
        return start + offset

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def read_bytes(location: str) -> bytes:
    """All bytes of a file.

    Raises:
        InvalidSetting: There is no such file, or it may not be read.
    """
    try:
        if is_remote(location):
            with _gfile().GFile(location, "rb") as file:
                content: bytes = file.read()
                return content
        return Path(location).read_bytes()
    except Exception as error:
        raise _unreadable(location, error) from error


def size_bytes(location: str) -> int:
    """The size of a file."""
    try:
        return int(_gfile().stat(location).length) if is_remote(location) else Path(location).stat().st_size
    except Exception as error:
        raise _unreadable(location, error) from error


def is_folder(location: str) -> bool:
    """Whether `location` is a folder that can be listed."""
    return bool(_gfile().isdir(location)) if is_remote(location) else Path(location).is_dir()


def exists(location: str) -> bool:
    """Whether there is a file or a folder at `location`."""
    try:
        return bool(_gfile().exists(location)) if is_remote(location) else Path(location).exists()
    except Exception as error:
        raise _unreadable(location, error) from error


def list_folder(location: str) -> list[str]:
    """The full locations of what is in a folder, sorted, without hidden entries."""
    if is_remote(location):
        names = [str(name).rstrip("/") for name in _gfile().listdir(location)]
    else:
        names = [path.name for path in Path(location).iterdir()]
    return [join(location, name) for name in sorted(names) if name and not name.startswith((".", "_"))]


def expand(location: str) -> list[str]:
    """The files that `location` names: itself, or what its `*`, `?` and `[` match, sorted.

    Raises:
        InvalidSetting: Nothing is there.
    """
    if exists(location):
        return [location]
    if any(sign in location for sign in "*?["):
        found = _gfile().glob(location) if is_remote(location) else glob.glob(location)  # noqa: PTH207  # absolute patterns
        if found:
            return sorted(found)
        raise InvalidSetting(f"no file matches {location!r}")
    raise InvalidSetting(f"there is no file or folder {location!r}{_sibling_hint(location)}")


def join(folder: str, name: str) -> str:
    """`name` in `folder`; `name` itself when it is absolute."""
    if is_remote(name) or name.startswith("/"):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def parent(location: str) -> str:
    """The folder that holds `location`."""
    return location.rstrip("/").rpartition("/")[0] if is_remote(location) else str(Path(location).parent)


def base_name(location: str) -> str:
    """The last part of `location`."""
    return location.rstrip("/").rpartition("/")[2]


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def _unreadable(location: str, error: Exception) -> InvalidSetting:
    if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
        return InvalidSetting(f"there is no file {location!r}{_sibling_hint(location)}")
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return InvalidSetting(f"cannot read {location!r}: {reason}")


def _sibling_hint(location: str) -> str:
    if is_remote(location):
        return ""
    path = Path(location)
    if not path.parent.is_dir():
        return f"; the folder {str(path.parent)!r} does not exist either"
    if near := nearest(path.name, [entry.name for entry in path.parent.iterdir()]):
        return f"; did you mean {str(path.parent / near)!r}?"
    return "" if path.is_absolute() else f" in {str(Path.cwd())!r}"
