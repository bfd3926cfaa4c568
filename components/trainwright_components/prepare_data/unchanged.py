"""A source is read more than once: what was written to it meanwhile is told as that."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from trainwright_components.errors import InvalidData, TrainwrightError
from trainwright_components.storage.addresses import base_name, parent
from trainwright_components.storage.locations import exists, find, list_entries
from trainwright_components.storage.protocol import Entry

_ADVICE = "prepare it again once nothing writes to it, or prepare a copy"


class UnchangedFiles:
    """Files as they were when this was made."""

    def __init__(self, files: Sequence[str]) -> None:
        self._before = _entries(files)

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
        now = _entries(self._before)
        for file, before in self._before.items():
            after = now[file]
            if before is None or after is None:
                raise InvalidData(f"{file} was removed while it was read; {_ADVICE}") from cause
            if (before.size_bytes, before.content_mark) != (after.size_bytes, after.content_mark):
                raise InvalidData(
                    f"{file} was changed while it was read: it had {before.size_bytes:,} bytes, now "
                    f"{after.size_bytes:,}; {_ADVICE}"
                ) from cause


def _entries(files: Iterable[str]) -> Mapping[str, Entry | None]:
    """What is at each of `files`; those of one folder are asked for together, over a network at times."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for file in files:
        by_folder[parent(file)].append(file)
    found: dict[str, Entry | None] = {}
    for folder, held in by_folder.items():
        if len(held) == 1:
            found[held[0]] = find(held[0])
            continue
        entries = {entry.name: entry for entry in list_entries(folder) if not entry.is_folder} if exists(folder) else {}
        found |= {file: entries.get(base_name(file)) for file in held}
    return found
