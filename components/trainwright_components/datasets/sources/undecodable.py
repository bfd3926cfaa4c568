"""Where a text file stops being of its encoding, and of which one it may be instead."""

import codecs
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from trainwright_components.datasets.sources.dialect import Dialect, read_rows
from trainwright_components.errors import InvalidData
from trainwright_components.storage.locations import open_binary

_FREQUENT_ENCODINGS = ["cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "euc_kr"]
_ENOUGH_TO_GUESS = 100  # bytes that are not ASCII
_LOOKED_AT = 10_000  # values from the first one that is wrong
_SHOWN = 60
_MARKED = re.compile("[\udc00-\udcff]")  # what no encoding gives for a text


def _mark(error: UnicodeError) -> tuple[str, int]:
    """For each byte that is not of the encoding the character 0xdc00 + byte, which can be told and turned back."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("trainwright.mark", _mark)


@dataclass(frozen=True, kw_only=True)
class _Place:
    where: str
    byte: int
    text: str
    sample: Sequence[str]


def describe_undecodable(
    file: str, dialect: Dialect, names: Sequence[str], *, said_by: str = "data."
) -> InvalidData | None:
    """What is wrong with the first value of `file` that is not of its encoding; None when all are.

    `said_by` is that of `DialectOptions`.
    """
    with open_binary(file) as binary:
        text = io.TextIOWrapper(binary, encoding=dialect.encoding, errors="trainwright.mark", newline="")
        try:
            place = _find(text, dialect, names)
        finally:
            text.detach()
    if place is None:
        return None
    encoding = dialect.encoding.removesuffix("-sig")
    said = f"{file}, {place.where}: byte 0x{place.byte:02x} is not {encoding.upper()}"
    if encoding != "utf-8":
        return InvalidData(f"{said}; say another {said_by}encoding, or convert the file to UTF-8")
    guess = _guess_encoding("\n".join(place.sample))
    shown = _bytes(place.text).decode(guess, errors="replace").strip()[:_SHOWN]
    return InvalidData(f"{said}; if this reads well: {shown!r}, say {said_by}encoding={guess}, else another encoding")


def _find(text: Iterable[str], dialect: Dialect, names: Sequence[str]) -> _Place | None:
    lines = iter(text)
    for line in islice(lines, dialect.first_line):
        if found := _MARKED.search(line):
            sample = [line, *islice(lines, _LOOKED_AT)]
            return _Place(where="before the first row", byte=ord(found[0]) - 0xDC00, text=line, sample=sample)
    values = _values(lines, dialect)
    for number, place, value in values:
        if found := _MARKED.search(value):
            column = f", column {names[place]!r}" if place < len(names) else ""
            sample = [value, *(each for _, _, each in islice(values, _LOOKED_AT))]
            return _Place(where=f"row {number}{column}", byte=ord(found[0]) - 0xDC00, text=value, sample=sample)
    return None


def _values(lines: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, int, str]]:
    """Each value with the number of its row and its place in that."""
    for number, row in enumerate(filter(None, read_rows(lines, dialect)), start=1):
        for place, value in enumerate(row):
            yield number, place, value


def _guess_encoding(sample: str) -> str:
    from charset_normalizer import from_bytes

    content = _bytes(sample)
    foreign = sum(byte > 127 for byte in content)
    best = from_bytes(content, cp_isolation=_FREQUENT_ENCODINGS).best() if foreign >= _ENOUGH_TO_GUESS else None
    return "cp1252" if best is None else best.encoding


def _bytes(text: str) -> bytes:
    """The bytes that were read as `text`."""
    return text.encode("utf-8", errors="surrogateescape")
