"""HTML and Markdown artifacts, ready to embed in a sandboxed frame that grows to their height."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.records import Artifact, State, Task

LIMIT_BYTES = 6_000_000
_TYPES = ("system.HTML", "system.Markdown")


@dataclass(frozen=True, kw_only=True)
class EmbeddedReport:
    """One report; `is_left_out` when it is too large for the page, `adapts_to_dark` when it says so itself."""

    task: Task
    artifact: Artifact
    html: str
    size_bytes: int
    is_left_out: bool = False
    adapts_to_dark: bool = False


def find_reports(tasks: Sequence[Task]) -> list[EmbeddedReport]:
    """The reports of a run's steps that lie on this machine, in the order of the steps, but of failed ones first.

    A step that failed has no outputs, but what it reported before it did tells why.
    """
    found = []
    for task in tasks:
        outputs = [artifact for artifacts in task.outputs.artifacts.values() for artifact in artifacts]
        reports = _left_behind(task) if task.state == State.FAILED and not task.is_group else outputs
        found += [each for artifact in reports if (each := _embed(task, artifact)) is not None]
    return sorted(found, key=lambda report: report.task.state != State.FAILED)


def markdown_page(text: str) -> str:
    """Markdown as an HTML page; HTML inside it is shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return f"<!doctype html><meta charset='utf-8'><style>{_MARKDOWN_STYLE}</style>{body}"


def _left_behind(task: Task) -> Iterable[Artifact]:
    """What a step that failed was to write, whether it did or not."""
    if task.folder is None or not (plan := StepFolder(task.folder).executor_input).is_file():
        return
    for name, planned in json.loads(plan.read_text())["outputs"]["artifacts"].items():
        for one in planned["artifacts"]:
            yield Artifact(id="", name=name, type=one["type"].get("schemaTitle", ""), uri=one["uri"])


def _embed(task: Task, artifact: Artifact) -> EmbeddedReport | None:
    path = artifact.path
    if artifact.type not in _TYPES or path is None or not path.is_file():
        return None
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        return EmbeddedReport(task=task, artifact=artifact, html="", size_bytes=size, is_left_out=True)
    text = path.read_text(encoding="utf-8", errors="replace")
    page = text if artifact.type == "system.HTML" else markdown_page(text)
    adapts = _ADAPTS in page[:_HEAD_CHARACTERS]
    return EmbeddedReport(
        task=task, artifact=artifact, html=page + _TELL_HEIGHT, size_bytes=size, adapts_to_dark=adapts
    )


_HEAD_CHARACTERS = 4_000
_ADAPTS = "color-scheme: light dark"
# A sandboxed frame cannot be measured from outside. Its root's box, unlike its scroll height, does not grow with it.
_TELL_HEIGHT = """
<script>
new ResizeObserver(() => {
  if (!innerWidth) return;  // in a closed part of the page
  const root = document.documentElement;
  const bar = root.scrollWidth > innerWidth ? 20 : 2;
  parent.postMessage({ reportHeight: Math.ceil(root.getBoundingClientRect().height) + bar }, "*");
}).observe(document.documentElement);
</script>"""
_MARKDOWN_STYLE = (
    ":root{color-scheme: light dark}body{font:15px/1.5 system-ui,sans-serif;margin:1rem}table{border-collapse:collapse}"
    "table{display:block;overflow-x:auto}th,td{padding:.25rem .75rem;border-bottom:1px solid #8884;text-align:left}"
    "pre{background:#8881;padding:.75rem;overflow-x:auto}code{overflow-wrap:anywhere}"
)
