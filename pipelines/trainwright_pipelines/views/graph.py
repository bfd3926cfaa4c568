"""The steps of a pipeline as a tree, from the compiled spec, with what a run made of each. Draws nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainwright_pipelines.engine.records import Task, TaskKind
from trainwright_pipelines.ir.expressions import readable
from trainwright_pipelines.ir.spec import Component, Pipeline, TaskSpec
from trainwright_pipelines.views.wording import shown_state


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step, or a group of steps (condition, loop, sub-pipeline, exit handler) with `children`.

    Args:
        path: As in the record, but without the numbers of iterations: `for-loop-1/train`.
        label: What to write on it.
        state: The record's; of a step in a loop the one that matters most; empty when it never came up.
        depends_on: Names of siblings that come first.
        tasks: The records behind it; several in a loop.
    """

    path: str
    name: str
    label: str
    kind: str
    state: str = ""
    depends_on: tuple[str, ...] = ()
    children: tuple["Node", ...] = ()
    tasks: tuple[Task, ...] = ()

    @property
    def is_group(self) -> bool:
        """Whether it holds other nodes."""
        return bool(self.children)


def build_graph(pipeline: Pipeline, tasks: Sequence[Task]) -> tuple[Node, ...]:
    """The top level of the tree."""
    by_path: dict[str, list[Task]] = {}
    for task in tasks:
        by_path.setdefault(spec_path(task.path), []).append(task)
    return _nodes(pipeline, pipeline.root, "", by_path)


def spec_path(task_path: str) -> str:
    """`task_path` without the numbers of iterations, which the spec does not know."""
    return "/".join(part for part in task_path.split("/") if not part.isdecimal())


def _nodes(pipeline: Pipeline, around: Component, parent: str, by_path: Mapping[str, list[Task]]) -> tuple[Node, ...]:
    nodes = []
    for spec in around.dag.tasks.values() if around.dag is not None else ():
        path = f"{parent}/{spec.name}" if parent else spec.name
        component = pipeline.component_of(spec)
        tasks = [task for task in by_path.get(path, ()) if task.kind != TaskKind.ITERATION]
        nodes.append(
            Node(
                path=path,
                name=spec.name,
                label=_label(spec),
                kind=_kind(spec, component),
                state=_joint_state(tasks),
                depends_on=spec.depends_on,
                children=_nodes(pipeline, component, path, by_path),
                tasks=tuple(tasks),
            )
        )
    return tuple(nodes)


def _label(spec: TaskSpec) -> str:
    """The name that its author gave it; of a condition without one, the condition."""
    has_name = spec.display_name not in {"", spec.name}
    return f"if {readable(spec.condition)}" if spec.condition and not has_name else spec.display_name


def _kind(spec: TaskSpec, component: Component) -> str:
    if spec.iterator is not None:
        return "loop"
    if spec.condition:
        return "condition"
    return "step" if component.dag is None else "dag"


_MATTERS_MOST = ("FAILED", "CANCELED", "CANCELING", "RUNNING", "PENDING", "SUCCEEDED", "CACHED", "SKIPPED")


def _joint_state(tasks: Iterable[Task]) -> str:
    counts = Counter(map(shown_state, tasks))
    return next((state for state in _MATTERS_MOST if counts[state]), "")
