"""A source is read more than once: what was written to it meanwhile is told as that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trainwright_components.errors import InvalidData, TrainwrightError
from trainwright_components.storage.locations import find

_ADVICE = "prepare it again once nothing writes to it, or prepare a copy"


class UnchangedFiles:
    """Files as they were when this was made."""

    def __init__(self, files: Sequence[str]) -> None:
        self._before = {file: find(file) for file in files}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Something that reads them; how it fails once they are others tells nothing.

        Raises:
            InvalidData: A file was changed before the end.
        """
        try:
            yield
        except TrainwrightError as error:
            self._check(error)
            raise
        self._check(None)

    def check_count(self, rows: int, *, first: int, name: str) -> None:
        """Refuse another number of rows than at first, for storages that tell no change."""
        if rows != first:
            raise InvalidData(f"{name} changed while it was read: it had {first:,} rows, then {rows:,}; {_ADVICE}")

    def _check(self, cause: Exception | None) -> None:
        for file, before in self._before.items():
            after = find(file)
            if before is None or after is None:
                raise InvalidData(f"{file} was removed while it was read; {_ADVICE}") from cause
            if (before.size_bytes, before.content_mark) != (after.size_bytes, after.content_mark):
                raise InvalidData(
                    f"{file} was changed while it was read: it had {before.size_bytes:,} bytes, now "
                    f"{after.size_bytes:,}; {_ADVICE}"
                ) from cause
