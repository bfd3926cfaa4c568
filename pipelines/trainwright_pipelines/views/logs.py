"""Read the end of a step's log."""

import re
from dataclasses import dataclass
from pathlib import Path

from trainwright_pipelines.engine.step_logs import plain_text

LIMIT_BYTES = 200_000
_WITHOUT_GPU = re.compile(r"\] failed call to cuInit: ")  # TensorFlow's error on every machine without a GPU


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
