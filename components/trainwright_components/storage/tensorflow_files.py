"""Whatever else TensorFlow has a file system for: `ram://`, and what plug-ins add, such as `hdfs://`."""

import io
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, ClassVar

from trainwright_components.storage.addresses import base_name, join, parent
from trainwright_components.storage.protocol import Entry, RangeReader, Storage

_BUFFER_BYTES = 1 << 20


class TensorFlowStorage:
    """Files that `tf.io.gfile` reaches."""

    schemes: ClassVar[tuple[str, ...]] = ("ram",)  # and each that no other storage has
    is_read_by_tensorflow: ClassVar[bool] = True

    def find(self, location: str) -> Entry | None:
        """What is at `location`."""
        try:
            with _answers():
                about = _gfile().stat(location)
        except FileNotFoundError:
            return None
        size_bytes = 0 if about.is_directory else int(about.length)
        return Entry(
            name=base_name(location),
            is_folder=bool(about.is_directory),
            size_bytes=size_bytes,
            content_mark=str(about.mtime_nsec),
        )

    def list(self, folder: str) -> Sequence[Entry]:
        """All in a folder."""
        with _answers():
            names = [str(name).rstrip("/") for name in _gfile().listdir(folder)]
        return [entry for name in names if name and (entry := self.find(join(folder, name))) is not None]

    def open(self, location: str) -> IO[bytes]:
        """A file to read."""
        with _answers():
            if _gfile().isdir(location):  # which some of its file systems read as a file of no bytes
                raise IsADirectoryError(f"{location} is a folder")
            return io.BufferedReader(_File(location), _BUFFER_BYTES)

    def write(self, location: str, source: Path, *, replace: bool) -> bool:
        """Copy beside `location`, then rename."""
        with _answers():
            if not replace and _gfile().exists(location):
                return False
            _gfile().makedirs(parent(location))
            beside = join(parent(location), f".partial.{uuid.uuid4().hex}")  # each writer has its own
            try:
                _gfile().copy(str(source), beside)
                _gfile().rename(beside, location, overwrite=True)
            except BaseException:
                if _gfile().exists(beside):
                    _gfile().remove(beside)
                raise
        return True

    def remove(self, location: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError), _answers():
            _gfile().remove(location)


class _File(RangeReader):
    def __init__(self, location: str) -> None:
        super().__init__()
        self._file: Any = _gfile().GFile(location, "rb")
        self.size = int(self._file.size())  # GFile opens late; this makes it fail here

    def read_range(self, start: int, end: int) -> bytes:
        with _answers():
            self._file.seek(start)
            content: bytes = self._file.read(end - start)
        return content

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def _answers() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


_: type[Storage] = TensorFlowStorage
