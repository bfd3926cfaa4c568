"""What a storage is: the files below the addresses of one or more schemes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Protocol


@dataclass(frozen=True, kw_only=True, order=True)
class Entry:
    """A file or a folder by the last part of its address; `size_bytes` is of a file.

    Args:
        content_mark: A text that is another once the file is written again; `find` tells it, and `list` where it costs
            nothing more.
    """

    name: str
    is_folder: bool = False
    size_bytes: int = 0
    content_mark: str = field(default="", compare=False)


class Storage(Protocol):
    """Files by address. Its errors are `OSError`: `FileNotFoundError` for what is not there, whose cause may be any.

    What cannot be reached, so that another try may help, raises `TargetUnavailable`.
    """

    schemes: ClassVar[tuple[str, ...]]
    """Those of its addresses; the empty one is that of paths."""
    is_read_by_tensorflow: ClassVar[bool]
    """Whether TensorFlow reads its addresses too, such as those of TFRecord files."""

    def find(self, location: str) -> Entry | None:
        """What is at `location`, whose folders exist where something is below them; None for nothing."""
        ...

    def list(self, folder: str) -> Sequence[Entry]:
        """All that is directly in a folder, in any order."""
        ...

    def open(self, location: str) -> IO[bytes]:
        """A file to read from any position, which is the same content to its end or fails."""
        ...

    def write(self, location: str, source: Path, *, replace: bool) -> bool:
        """Make the file `location` of the local file `source`, whole or not at all.

        Returns:
            Whether it was written: False where a file is there already that was not to be replaced.
        """
        ...

    def remove(self, location: str) -> None:
        """Remove a file; one that is not there is removed already."""
        ...


def check_folder(storage: Storage, folder: str) -> None:
    """Raise where there is no folder; for storages that list nothing then, as they do for an empty one."""
    found = storage.find(folder)
    if found is None:
        raise FileNotFoundError(f"there is no folder {folder}")
    if not found.is_folder:
        raise NotADirectoryError(f"{folder} is a file, not a folder")


class RangeReader(io.RawIOBase):
    """A file that is read by ranges of bytes, such as over HTTP. Subclasses say its size and give a range."""

    size: int

    def __init__(self) -> None:
        self._position = 0

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, which the file has."""
        raise NotImplementedError

    def _read_all_of(self, start: int, end: int) -> bytes:
        content = self.read_range(start, end)
        if len(content) != end - start:  # fewer would look like the end of the file
            raise OSError(f"the storage gave {len(content)} bytes of the {end - start} from byte {start} on")
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readall(self) -> bytes:  # io's own asks for a few kilobytes at a time
        start, self._position = min(self._position, self.size), self.size
        return self._read_all_of(start, self.size) if start < self.size else b""

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        end = min(self.size, self._position + len(buffer))
        if end <= self._position:
            return 0
        content = self._read_all_of(self._position, end)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
