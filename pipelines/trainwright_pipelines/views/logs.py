"""Read a step's log as plain text: its end, or the warnings in it."""

import re
from dataclasses import dataclass
from pathlib import Path

from trainwright_pipelines.engine.contract import WARNING_MARK

LIMIT_BYTES = 200_000
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_WITHOUT_GPU = re.compile(r"\] failed call to cuInit: ")  # TensorFlow's error on every machine without a GPU
_WARNING = re.compile(rf"\d\d:\d\d:\d\d {WARNING_MARK}(.*)")
_OTHER_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class LogEnd:
    """The end of a log; `is_cut` when it begins somewhere in the middle."""

    text: str
    is_cut: bool


def read_log_end(log: Path | None, *, limit_bytes: int = LIMIT_BYTES) -> LogEnd:
    """The last `limit_bytes` of `log` without colours and overwritten lines; empty when there is no log."""
    if log is None or not log.is_file():
        return LogEnd(text="", is_cut=False)
    with log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - limit_bytes))
        content = stream.read().decode(errors="replace")
    if size > limit_bytes:
        content = content.partition("\n")[2]
    return LogEnd(text=plain_text(content), is_cut=size > limit_bytes)


def last_lines(log: Path | None, count: int) -> list[str]:
    """The last `count` lines that say something."""
    lines = read_log_end(log, limit_bytes=400 * (count + 1)).text.splitlines()
    return [line for line in lines if line.strip() and not _WITHOUT_GPU.search(line)][-count:]


def read_warnings(log: Path | None, start: int) -> tuple[list[str], int]:
    """The warnings in the whole lines of `log` from byte `start` on, and where these lines end; none if it is away."""
    if log is None or not log.is_file():
        return [], start
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            whole, newline, _ = stream.read().rpartition(b"\n")
    except OSError:  # the next look finds them
        return [], start
    lines = plain_text(whole.decode(errors="replace")).splitlines()
    return [found[1] for line in lines if (found := _WARNING.match(line))], start + len(whole + newline)


def plain_text(text: str) -> str:
    """`text` as a terminal would leave it: the last version of each line, without control characters."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _OTHER_CONTROL.sub("", _CONTROL_SEQUENCE.sub("", "\n".join(lines)))
