"""The disk of this machine."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from trainwright_components.storage.protocol import Entry, Storage


class LocalStorage:
    """Paths."""

    schemes: ClassVar[tuple[str, ...]] = ("",)
    is_read_by_tensorflow: ClassVar[bool] = True

    def find(self, location: str) -> Entry | None:
        """What is at the path."""
        path = Path(location)
        try:
            return _entry(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path with a null byte
            if path.is_symlink():  # it leads nowhere now: unlike nothing, it is meant to be there
                raise
            return None

    def list(self, folder: str) -> Sequence[Entry]:
        """All in a folder; links that lead nowhere are files of no bytes."""
        return [_entry(path) if path.exists() else Entry(name=path.name) for path in Path(folder).iterdir()]

    def open(self, location: str) -> IO[bytes]:
        """A file to read."""
        return Path(location).open("rb")

    def write(self, location: str, source: Path, *, replace: bool) -> bool:
        """Copy `source` beside `location`, then rename it into place."""
        path = Path(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not replace and path.exists():
            return False
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial.") as folder:  # each writer has its own
            partial = Path(folder, path.name)
            shutil.copyfile(source, partial)
            partial.replace(path)
        return True

    def remove(self, location: str) -> None:
        """Remove a file."""
        Path(location).unlink(missing_ok=True)


def _entry(path: Path) -> Entry:
    about = path.stat()
    is_folder = path.is_dir()
    size_bytes = 0 if is_folder else about.st_size
    return Entry(name=path.name, is_folder=is_folder, size_bytes=size_bytes, content_mark=str(about.st_mtime_ns))


_: type[Storage] = LocalStorage
