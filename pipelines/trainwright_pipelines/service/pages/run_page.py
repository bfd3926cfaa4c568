"""The page of one run: a single HTML file that needs no network and no server."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainwright_components.files import write_whole
from trainwright_components.home import Home
from trainwright_components.reports import dotted
from trainwright_pipelines.engine.records import Artifact, Run, State, Task
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.service.pages.compiled_templates import CompiledTemplates
from trainwright_pipelines.views.classification import (
    ConfusionMatrix,
    RocCurve,
    read_confusion_matrix,
    read_roc_curve,
)
from trainwright_pipelines.views.graph import build_graph
from trainwright_pipelines.views.graph_drawing import lay_out, shorten
from trainwright_pipelines.views.headlines import Headlines, find_headlines, in_time_order, metric_artifacts
from trainwright_pipelines.views.logs import read_log_end
from trainwright_pipelines.views.reports import find_reports
from trainwright_pipelines.views.warnings import gather_warnings
from trainwright_pipelines.views.wording import (
    has_own_code,
    iterations_to_come,
    plain_value,
    reuse_note,
    short_seconds,
    short_size,
    short_time,
    shown_state,
    step_option,
)

PAGE_NAME = "run.html"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure at the top of the page."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A step's line on the time axis; no width when it never started."""

    task: Task
    depth: int
    left_percent: float = 0.0
    width_percent: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What one `system.ClassificationMetrics` artifact holds."""

    task: Task
    artifact: Artifact
    matrix: ConfusionMatrix | None
    roc: RocCurve | None


@dataclass(frozen=True, kw_only=True)
class Details:
    """A step with the end of its log."""

    task: Task
    log: str
    is_log_cut: bool


def write_run_page(store: Store, run_id: str, folder: Path | None = None) -> Path:
    """Write the page into `folder`, the run's own when absent; returns its path."""
    run = store.run(run_id)
    path = (folder or run.folder) / PAGE_NAME
    compiled = Home(root=store.home).compiled
    write_whole(path, render_run_page(run, store.tasks(run.id), store.spec_text(run.id), compiled=compiled))
    return path


def render_run_page(
    run: Run, tasks: Sequence[Task], spec_text: str, *, links_artifacts: bool = False, compiled: Path | None = None
) -> str:
    """The page of `run` as HTML; with links to the files of artifacts where these lie beside it.

    `compiled` is a folder where the compiled template is kept.
    """
    headlines = find_headlines(tasks)
    tasks = in_time_order(tasks)
    return (
        _environment(compiled)
        .get_template("run.html.j2")
        .render(
            run=run,
            warnings=[each.text for each in gather_warnings(run, tasks)],
            links_artifacts=links_artifacts,
            style=files("trainwright_pipelines.service.pages").joinpath("templates/run.css").read_text(),
            headlines=headlines,
            failures=[
                (task, step_option(task, tasks), has_own_code(task))
                for task in tasks
                if task.state == State.FAILED and not task.is_group
            ],
            tiles=_tiles(headlines),
            drawing=lay_out(build_graph(parse_pipeline(spec_text), tasks)),
            bars=_bars(run, tasks),
            to_come=iterations_to_come(tasks),
            metrics=metric_artifacts(tasks),
            curves=_curves(tasks),
            reports=find_reports(tasks),
            details=[_details(task) for task in tasks if not task.is_group],
            hyperparameters=dict(dotted(headlines.hyperparameters)),
            provenance=_flat({name: each for name, each in run.provenance.items() if name != "packages"}),
            packages=run.provenance.get("packages", {}),
            version=version("trainwright"),
        )
    )


@functools.cache  # a template is compiled once
def _environment(compiled: Path | None) -> Environment:
    environment = Environment(
        loader=PackageLoader("trainwright_pipelines.service.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=None if compiled is None else CompiledTemplates(compiled),
    )
    filters: dict[str, Callable[..., Any]] = {
        "moment": short_time,
        "seconds": short_seconds,
        "size": short_size,
        "state": shown_state,
        "label": lambda task: task.label,
        "shorten": shorten,
        "reuse": reuse_note,
        "anchor": lambda task: f"step-{task.path}",
        "plain": plain_value,
        "is_scalar": lambda value: not isinstance(value, Mapping | list),
        "is_table": is_table,
    }
    environment.filters.update(filters)
    return environment


def is_table(value: Any) -> bool:
    """Whether `value` is a list of mappings with the same names, which is shown as a table."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, Mapping) and row.keys() == value[0].keys() for row in value)
    )


def _tiles(headlines: Headlines) -> list[Tile]:
    tiles = []
    if headlines.metric_value is not None:
        title, value = f"test {headlines.metric_name}", f"{headlines.metric_value:.4f}"
        tiles.append(Tile(title=title, value=value, note=headlines.metric_note))
    if headlines.is_blessed is not None:
        note = "; ".join(headlines.reasons)
        tiles.append(Tile(title="blessed", value="yes" if headlines.is_blessed else "no", note=note))
    if headlines.tflite_size_bytes is not None:
        size = short_size(headlines.tflite_size_bytes)
        tiles.append(Tile(title="TFLite model", value=size, note=headlines.tflite_note))
    if headlines.endpoint:
        title = f"served as version {headlines.version}" if headlines.version is not None else "served"
        tiles.append(Tile(title=title, value=headlines.endpoint))
    return tiles


def _bars(run: Run, tasks: Sequence[Task]) -> list[Bar]:
    starts = [task.started for task in tasks if task.started]
    if not starts:
        return [Bar(task=task, depth=task.path.count("/")) for task in tasks]
    start = min(starts)
    now = run.finished or datetime.now(UTC)
    end = max([now, *(task.finished for task in tasks if task.finished)])
    whole_s = max((end - start).total_seconds(), 1e-3)
    bars = []
    for task in tasks:
        if task.started is None or task.is_cached:
            bars.append(Bar(task=task, depth=task.path.count("/")))
            continue
        left_s = (task.started - start).total_seconds()
        width_s = ((task.finished or now) - task.started).total_seconds()
        left, width = (round(100 * each / whole_s, 2) for each in (left_s, max(width_s, 0)))
        bars.append(Bar(task=task, depth=task.path.count("/"), left_percent=left, width_percent=width))
    return bars


def _curves(tasks: Sequence[Task]) -> list[Curves]:
    found = []
    for task in tasks:
        for artifacts in task.outputs.artifacts.values():
            for artifact in artifacts:
                if artifact.type == "system.ClassificationMetrics":
                    matrix, roc = read_confusion_matrix(artifact.metadata), read_roc_curve(artifact.metadata)
                    if matrix or roc:
                        found.append(Curves(task=task, artifact=artifact, matrix=matrix, roc=roc))
    return found


def _details(task: Task) -> Details:
    end = read_log_end(task.log)
    return Details(task=task, log=end.text, is_log_cut=end.is_cut)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested names joined by dots; long texts keep their lines."""
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping):
            lines += _flat(value, f"{full}.")
        elif is_table(value):
            for number, row in enumerate(value):
                lines += _flat(row, f"{full}.{number}." if len(value) > 1 else f"{full}.")
        elif value not in (None, "", [], {}):
            lines.append((full, plain_value(value)))
    return lines
