"""Checks that a spec declares all inputs and outputs that it reads: what it lacks would be empty text in a run."""

from collections.abc import Iterator

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.ir.expressions import inputs_read
from trainwright_pipelines.ir.placeholders import inputs_named
from trainwright_pipelines.ir.spec import Component, Dag, Pipeline, Source, TaskSpec, split_loop_item

_LOOP_ITEM = "loop-item"
_ADVICE = (  # seen with kfp 2.17.0; KFP's driver refuses it too, as in backend/src/v2/driver of kubeflow/pipelines
    "; kfp's compiler leaves the item of an outer loop out where a text is put together from it: "
    "give the step each item as an input of its own"
)


def check_references(pipeline: Pipeline) -> None:
    """Check each group of tasks.

    Raises:
        InvalidPipeline: A task, a condition, a loop or an output refers to something that is not declared.
    """
    for component in [pipeline.root, *pipeline.components.values()]:
        if component.dag is None:
            continue
        for task in component.dag.tasks.values():
            _check_own_inputs(task, pipeline.component_of(task))
            _check_parameters(pipeline, component, task)
            _check_artifacts(pipeline, component, task)
        _check_outputs(pipeline, component.name, component.dag)


def _check_own_inputs(task: TaskSpec, component: Component) -> None:
    parameters = {*task.parameters, *component.input_parameters}
    artifacts = {*task.artifacts, *component.input_artifacts}
    known = {"parameters": parameters, "parameter_values": parameters, "artifacts": artifacts}
    for where, side, name in _read_by_itself(task):
        if name not in known.get(side, {name}):
            raise InvalidPipeline(f"{where} of task {task.name!r} refers to {name!r}, which the task is not given")
    if task.iterator is not None:
        item, is_artifact = task.iterator.item_input, task.iterator.is_artifact
        if item not in (component.input_artifacts if is_artifact else component.input_parameters):
            raise InvalidPipeline(f"task {task.name!r} gives each item to {component.name} as {item!r}, which it lacks")


def _read_by_itself(task: TaskSpec) -> Iterator[tuple[str, str, str]]:
    """What a task reads of its own inputs before its component does: where, `parameters` or `artifacts`, the name."""
    for read in inputs_read(task.condition):
        yield "the condition", *read
    for name, source in task.parameters.items():
        for read in inputs_named(source.constant):
            yield f"the text {name!r}", *read
    if task.iterator is not None:
        for read in inputs_named(task.iterator.raw):
            yield "the loop", *read
        if task.iterator.input is not None:
            yield "the loop", "artifacts" if task.iterator.is_artifact else "parameters", task.iterator.input


def _check_parameters(pipeline: Pipeline, around: Component, task: TaskSpec) -> None:
    for name, source in _read_parameters(pipeline, task):
        known = {source.input, split_loop_item(source.input or "")[0]} & around.input_parameters.keys()
        if source.input is not None and not known:
            advice = _ADVICE if _LOOP_ITEM in source.input else ""
            raise InvalidPipeline(
                f"task {task.name!r} takes its input {name!r} from {source.input!r}, an input that {around.name} does "
                f"not declare{advice}"
            )
        if around.dag is not None and source.task is not None:
            _check_output(pipeline, around.dag, source.task, source.key, f"task {task.name!r}", is_artifact=False)


def _read_parameters(pipeline: Pipeline, task: TaskSpec) -> Iterator[tuple[str, Source]]:
    """The parameters of a task that something reads: compilers also hand on what nobody does."""
    read = {name for _, _, name in _read_by_itself(task)}
    inside = _inputs_read_inside(pipeline, pipeline.component_of(task))
    if task.iterator is not None:
        item = task.iterator.item_input  # from the loop itself, as its parts
        inside = {each for each in inside if item not in {each, split_loop_item(each)[0]}}
    return ((name, source) for name, source in task.parameters.items() if name in read | inside)


def _inputs_read_inside(pipeline: Pipeline, component: Component) -> set[str]:
    if component.dag is None:
        return set(component.input_parameters)
    read = {
        source.input
        for task in component.dag.tasks.values()
        for _, source in _read_parameters(pipeline, task)
        if source.input is not None
    }
    return read | {split_loop_item(name)[0] for name in read}


def _check_artifacts(pipeline: Pipeline, around: Component, task: TaskSpec) -> None:
    for name, source in task.artifacts.items():
        if around.dag is not None and source.task is not None:
            _check_output(pipeline, around.dag, source.task, source.key, f"task {task.name!r}", is_artifact=True)
        elif source.input not in around.input_artifacts:
            raise InvalidPipeline(
                f"task {task.name!r} takes its artifact {name!r} from {source.input!r}, an input that {around.name} "
                "does not declare"
            )


def _check_outputs(pipeline: Pipeline, name: str, dag: Dag) -> None:
    for is_artifact, outputs in ((False, dag.parameters), (True, dag.artifacts)):
        for output, selectors in outputs.items():
            for each in selectors:
                who = f"the output {output!r} of {name}"
                _check_output(pipeline, dag, each.task, each.key, who, is_artifact=is_artifact)


def _check_output(pipeline: Pipeline, dag: Dag, task: str, key: str, who: str, *, is_artifact: bool) -> None:
    if task not in dag.tasks:
        raise InvalidPipeline(f"{who} takes {key!r} from the task {task!r}, which is not there")
    component = pipeline.component_of(dag.tasks[task])
    if key not in (component.output_artifacts if is_artifact else component.output_parameters):
        kind = "artifact" if is_artifact else "parameter"
        raise InvalidPipeline(f"{who} takes the {kind} {key!r} from the task {task!r}, which declares no such output")
