"""What each step runs in: the choice of its author and of whoever starts the run, and what a process leaves out."""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.images import is_logical
from trainwright_pipelines.engine.isolation import ISOLATIONS
from trainwright_pipelines.engine.isolation.python_source import python_source, serves_here
from trainwright_pipelines.engine.records import without_numbered_groups
from trainwright_pipelines.engine.volumes import CLAIM_IMAGES
from trainwright_pipelines.ir.spec import Component, Pipeline, TaskSpec

PROCESS, CONTAINER = "process", "container"
ALL_STEPS = ""
_PYTHON_IMAGE = re.compile(r"(?:.*/)?python:(?P<version>\d+\.\d+)(?:[.-].*)?")
_SHOWN_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step that runs a container spec, as the pipeline has it: the same for all iterations of a loop."""

    path: str
    """Without the numbers of iterations."""
    name: str
    label: str
    """What people call it: with the names that its author gave it and the groups around it."""
    container: Mapping[str, Any]

    @property
    def image(self) -> str:
        """Its image; perhaps with placeholders."""
        return str(self.container.get("image") or "")

    @property
    def needs_image(self) -> bool:
        """Whether its code is in its image: a container component, or a Python component with a `target_image`."""
        return python_source(self.container) is None

    @property
    def stays_here(self) -> bool:
        """Whether what it starts must outlive a container."""
        source = python_source(self.container)
        return source is not None and serves_here(source.source)


def planned_steps(pipeline: Pipeline) -> list[PlannedStep]:
    """All steps that run something, but for those that make or remove claims, for which nothing runs here."""
    root = pipeline.root
    only = [(root.name, root.name, root.name, root)] if root.dag is None else _below(pipeline, root, "", "")
    found = []
    for path, name, label, component in only:
        container = pipeline.executors[component.executor].container
        if container is not None and container.get("image") not in CLAIM_IMAGES:
            if not component.passthroughs.get("RESOURCES", True):  # handed on to a workload of the component's own
                container = {key: value for key, value in container.items() if key != "resources"}
            found.append(PlannedStep(path=path, name=name, label=label, container=container))
    return found


def _below(pipeline: Pipeline, group: Component, path: str, title: str) -> Iterator[tuple[str, str, str, Component]]:
    assert group.dag is not None
    for name, spec in group.dag.tasks.items():
        component = pipeline.component_of(spec)
        if component.dag is None:
            yield f"{path}{name}", name, f"{title}{spec.display_name or name}", component
        else:
            yield from _below(pipeline, component, f"{path}{name}/", f"{title}{_title(spec)}")


def _title(group: TaskSpec) -> str:
    """What the steps in a group are called by its name; nothing for one that the compiler has only numbered."""
    is_named = group.display_name not in {"", group.name}
    return f"{group.display_name}/" if is_named else without_numbered_groups(f"{group.name}/")


def step_at(pipeline: Pipeline, path: str, container: Mapping[str, Any]) -> PlannedStep:
    """The step of the pipeline that a task of a run at `path` is, with what it runs there."""
    component, is_number, kept, title = pipeline.root, False, [], ""
    for part in path.split("/"):
        if is_number:
            is_number = False
            continue
        kept.append(part)
        if component.dag is not None:
            spec = component.dag.tasks[part]
            component, is_number = pipeline.component_of(spec), spec.iterator is not None
            title += _title(spec) if component.dag is not None else spec.display_name or part
    return PlannedStep(path="/".join(kept), name=kept[-1], label=title or kept[-1], container=container)


def parse_isolation(texts: Iterable[str]) -> dict[str, str]:
    """Read `container`, for all steps, and `STEP=process`, also several between commas; later ones win.

    Raises:
        InvalidSetting: One names no isolation.
    """
    found: dict[str, str] = {}
    for text in filter(None, (part.strip() for each in texts for part in each.split(","))):
        step, _, word = text.rpartition("=")
        if word.strip() not in ISOLATIONS:
            known = " or ".join(ISOLATIONS)
            raise InvalidSetting(f"isolation is {known}, or STEP={known}; got {text!r}")
        found[step.strip()] = word.strip()
    return found


def resolve_isolation(pipeline: Pipeline, given: Mapping[str, str]) -> dict[str, str]:
    """`given` by the paths of steps, which may be named in any way that people call them.

    Raises:
        InvalidSetting: One names no isolation, no step that runs something, or several steps.
    """
    steps = planned_steps(pipeline)
    parse_isolation(f"{name}={word}" for name, word in given.items())
    return {(_find(name, steps, pipeline.name) if name else ALL_STEPS): word for name, word in given.items()}


def still_chosen(pipeline: Pipeline, isolation: Mapping[str, str]) -> dict[str, str]:
    """The choices for a pipeline that was edited since: of its own steps, and for all others."""
    paths = {ALL_STEPS, *(step.path for step in planned_steps(pipeline))}
    return {path: word for path, word in isolation.items() if path in paths}


def _find(name: str, steps: list[PlannedStep], pipeline: str) -> str:
    wanted = name.replace("_", "-")
    for matches in (
        [step.path for step in steps if step.path == name],
        [step.path for step in steps if wanted in {step.path.replace("_", "-"), step.name.replace("_", "-")}],
        [step.path for step in steps if name in {step.label, step.label.rpartition("/")[2]}],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InvalidSetting(f"isolation: {name!r} is several steps: {', '.join(matches)}; give the path of one")
    hint = did_you_mean(name, dict.fromkeys(step.label for step in steps))
    raise InvalidSetting(f"isolation: {pipeline} has no step {name!r} that runs something{hint}")


def isolation_of(step: PlannedStep, isolation: Mapping[str, str]) -> str:
    """What a step runs in.

    Code that is in an image needs it. A lightweight component brings its code along, and starts faster as a process.
    """
    if step.path in isolation:
        return isolation[step.path]
    if step.stays_here:
        return PROCESS
    return isolation.get(ALL_STEPS) or (CONTAINER if step.needs_image else PROCESS)


def differing_images(pipeline: Pipeline, isolation: Mapping[str, str]) -> str:
    """What to tell of lightweight components that run in this Python instead of their images; empty if all is alike."""
    here = ".".join(platform.python_version_tuple()[:2])
    steps: dict[str, list[str]] = {}
    for step in planned_steps(pipeline):
        found = _PYTHON_IMAGE.fullmatch(step.image)
        is_alike = is_logical(step.image) or (found is not None and found["version"] == here)
        if isolation_of(step, isolation) == PROCESS and not step.needs_image and not is_alike:
            shown = "one that a parameter names" if "{{$" in step.image else step.image
            steps.setdefault(shown, []).append(step.label)
    if not steps:
        return ""
    named = "; ".join(f"{image} ({_list(labels)})" for image, labels in steps.items())
    return f"steps run in this Python {here}, not in their images: {named}. To run them there: --isolation container"


def _list(labels: list[str]) -> str:
    return ", ".join(labels[:_SHOWN_STEPS]) + (", ..." if len(labels) > _SHOWN_STEPS else "")


def ignored_by_process(image: str) -> str:
    """What to tell of a step whose code is in an image, and that runs as a process all the same."""
    return f"runs as a process, without its image {image}"
