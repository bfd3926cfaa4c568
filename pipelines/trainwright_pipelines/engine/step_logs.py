"""A step's log as plain text, and what it warns of."""

import re
from pathlib import Path

from trainwright_pipelines.engine.contract import WARNING_MARK

_END_CHARS = 4000
_MOST_BYTES_PER_CHAR = 4
_LINE_BYTES = 1 << 20
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_OTHER_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WARNING = re.compile(rf"\d\d:\d\d:\d\d {WARNING_MARK}(.*)")


def end_of(log: Path) -> str:
    """The last lines of a log; nothing if there is none."""
    if not log.is_file():  # its own step may have removed it, or put a pipe in its place
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _END_CHARS * _MOST_BYTES_PER_CHAR))
        end = stream.read().decode(errors="replace")
    return end.replace("\r\n", "\n").replace("\r", "\n")[-_END_CHARS:]


def read_warnings(log: Path | None, start: int = 0) -> tuple[list[str], int]:
    """The warnings in the whole lines of `log` from byte `start` on, and where these lines end; none if it is away."""
    found: list[str] = []
    if log is None or not log.is_file():
        return found, start
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            while line := stream.readline(_LINE_BYTES):  # a log may be one line, as long as the memory
                if not line.endswith(b"\n") and len(line) < _LINE_BYTES:
                    break
                start += len(line)
                if WARNING_MARK.encode() in line:
                    said = _WARNING.match(plain_text(line.decode(errors="replace")))
                    found += [said[1]] if said else []
    except OSError:
        pass  # the next look finds them
    return found, start


def plain_text(text: str) -> str:
    """`text` as a terminal would leave it: the last version of each line, without control characters."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _OTHER_CONTROL.sub("", _CONTROL_SEQUENCE.sub("", "\n".join(lines)))
