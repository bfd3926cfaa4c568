"""HTML and Markdown artifacts, ready to embed in a sandboxed frame."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainwright_pipelines.engine.records import Artifact, Task

LIMIT_BYTES = 6_000_000
_TYPES = ("system.HTML", "system.Markdown")


@dataclass(frozen=True, kw_only=True)
class EmbeddedReport:
    """One report; `is_left_out` when it is too large for the page."""

    task: Task
    artifact: Artifact
    html: str
    size_bytes: int
    is_left_out: bool = False


def find_reports(tasks: Sequence[Task]) -> list[EmbeddedReport]:
    """The reports of a run's steps that lie on this machine, in the order of the steps."""
    found = []
    for task in tasks:
        for artifacts in task.outputs.artifacts.values():
            found += [each for artifact in artifacts if (each := _embed(task, artifact)) is not None]
    return found


def markdown_page(text: str) -> str:
    """Markdown as an HTML page; HTML inside it is shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return f"<!doctype html><meta charset='utf-8'><style>{_MARKDOWN_STYLE}</style>{body}"


def _embed(task: Task, artifact: Artifact) -> EmbeddedReport | None:
    path = artifact.path
    if artifact.type not in _TYPES or path is None or not path.is_file():
        return None
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        return EmbeddedReport(task=task, artifact=artifact, html="", size_bytes=size, is_left_out=True)
    text = path.read_text(encoding="utf-8", errors="replace")
    page = text if artifact.type == "system.HTML" else markdown_page(text)
    return EmbeddedReport(task=task, artifact=artifact, html=page, size_bytes=size)


_MARKDOWN_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}"
    "th,td{padding:.25rem .75rem;border-bottom:1px solid #8884;text-align:left}pre{background:#8881;padding:.75rem}"
)
