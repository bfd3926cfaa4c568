"""Reads a compiled PipelineSpec, as KFP's compiler writes it, into the records of `spec`, and checks it."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.ir.references import check_references
from trainwright_pipelines.ir.spec import (
    MAX_BACKOFF_S,
    ArtifactSlot,
    Component,
    Dag,
    Executor,
    Importer,
    ItemIterator,
    ParameterSlot,
    Pipeline,
    Retry,
    Selector,
    Source,
    TaskSpec,
)
from trainwright_pipelines.ir.values import plain

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OLD_TYPES = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE", "STRING": "STRING"}


@lru_cache(maxsize=8)
def parse_pipeline(text: str) -> Pipeline:
    """Read compiled YAML or JSON: one document, two (the second for the platform), or the form that the KFP API takes.

    The same text is read once in a process: whoever starts, executes and shows a run asks for it in turn.

    Raises:
        InvalidPipeline: It is not a compiled pipeline, or refers to something that it does not hold.
    """
    return parse_documents(*read_documents(text, "the compiled pipeline"))


def parse_documents(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Pipeline:
    """Read a PipelineSpec and a PlatformSpec, which may be empty.

    Raises:
        InvalidPipeline: It is malformed, or refers to something that it does not hold.
    """
    try:
        pipeline = _pipeline(spec, platform)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidPipeline(f"the compiled pipeline is malformed: {type(error).__name__} {error}") from error
    _check(pipeline)
    return pipeline


def _pipeline(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Pipeline:
    executors = (spec.get("deploymentSpec") or spec.get("deploymentConfig") or {}).get("executors") or {}
    components = {name: _component(name, raw) for name, raw in (spec.get("components") or {}).items()}
    info = spec.get("pipelineInfo") or {}
    return Pipeline(
        name=str(info.get("name") or "pipeline"),
        description=str(info.get("description") or ""),
        root=_component("root", spec["root"]),
        components=components,
        executors={name: _executor(raw or {}) for name, raw in executors.items()},
        platform=(platform.get("platforms") or {}).get("kubernetes") or {},
        pipeline_root=str(spec.get("defaultPipelineRoot") or ""),
    )


def read_documents(text: str, origin: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The PipelineSpec and the PlatformSpec in `text`, which came from `origin`; the latter empty when there is none.

    Raises:
        InvalidPipeline: It is not YAML, or holds no PipelineSpec.
    """
    try:
        documents = [document for document in yaml.load_all(text, _LOADER) if document]
    except yaml.YAMLError as error:
        raise InvalidPipeline(f"{origin} is not valid YAML: {str(error).partition(chr(10))[0]}") from error
    if not documents:
        raise InvalidPipeline(f"{origin} is empty; compile it with `trainwright compile` or KFP's compiler")
    if not all(isinstance(document, dict) for document in documents):
        raise InvalidPipeline(f"{origin} is not a compiled pipeline: it holds something else than mappings")
    spec, platform = documents[0], documents[1] if len(documents) > 1 else {}
    if "pipeline_spec" in spec or "pipelineSpec" in spec:
        platform = spec.get("platform_spec") or spec.get("platformSpec") or platform
        inner = spec.get("pipeline_spec") or spec.get("pipelineSpec")
        spec = _with_values(inner, spec) if isinstance(inner, dict) else {}
    if spec.get("kind") == "Workflow":
        raise InvalidPipeline(f"{origin} is an Argo workflow of KFP v1; compile the pipeline with kfp 2")
    if "implementation" in spec:
        raise InvalidPipeline(
            f"{origin} is a component and not a pipeline; load it with kfp.components.load_component_from_file, call "
            "it in a pipeline, and compile that"
        )
    root = spec.get("root")
    if not isinstance(root, dict) or ("dag" not in root and "executorLabel" not in root):
        raise InvalidPipeline(f"{origin} is not a compiled pipeline: `root` is missing")
    return spec, platform


def _with_values(spec: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a request for a run, with the values that the request gives to parameters as their defaults.

    KFP's API calls them `runtime_config.parameters`, Vertex AI's `runtimeConfig.parameterValues`.
    """
    given = request.get("runtime_config") or request.get("runtimeConfig") or {}
    values = given.get("parameters") or given.get("parameterValues") or {}
    slots = ((spec.get("root") or {}).get("inputDefinitions") or {}).get("parameters") or {}
    for name in values.keys() & slots.keys():
        slots[name]["defaultValue"] = values[name]
    return spec


def _component(name: str, raw: Mapping[str, Any]) -> Component:
    inputs, outputs = raw.get("inputDefinitions") or {}, raw.get("outputDefinitions") or {}
    return Component(
        name=name,
        input_parameters={key: _parameter(slot) for key, slot in (inputs.get("parameters") or {}).items()},
        input_artifacts={key: _artifact(slot) for key, slot in (inputs.get("artifacts") or {}).items()},
        output_parameters={key: _parameter(slot) for key, slot in (outputs.get("parameters") or {}).items()},
        output_artifacts={key: _artifact(slot) for key, slot in (outputs.get("artifacts") or {}).items()},
        dag=_dag(raw["dag"]) if "dag" in raw else None,
        executor=str(raw.get("executorLabel") or ""),
        passthroughs={
            str(each.get("field") or ""): bool(each.get("applyToTask"))
            for each in raw.get("taskConfigPassthroughs") or []
        },
        interface={"inputs": inputs, "outputs": outputs},
    )


def _parameter(raw: Mapping[str, Any]) -> ParameterSlot:
    kind = raw.get("parameterType") or _OLD_TYPES.get(raw.get("type") or "", "")
    return ParameterSlot(
        type="" if kind == "PARAMETER_TYPE_ENUM_UNSPECIFIED" else str(kind),
        default=plain(raw.get("defaultValue")),
        has_default="defaultValue" in raw,
        is_optional=bool(raw.get("isOptional")),
        literals=tuple(plain(raw.get("literals") or [])),
        description=str(raw.get("description") or ""),
    )


def _artifact(raw: Mapping[str, Any]) -> ArtifactSlot:
    return ArtifactSlot(
        schema=raw.get("artifactType") or {},
        is_list=bool(raw.get("isArtifactList")),
        is_optional=bool(raw.get("isOptional")),
        metadata=plain(raw.get("metadata") or {}),
        description=str(raw.get("description") or ""),
    )


def _executor(raw: Mapping[str, Any]) -> Executor:
    importer = None
    if "importer" in raw:
        given = raw["importer"]
        importer = Importer(
            uri=_value(given.get("artifactUri") or {}),
            type=str((given.get("typeSchema") or {}).get("schemaTitle") or ""),
            metadata=plain(given.get("metadata") or {}),
        )
    return Executor(kind=next(iter(raw), "nothing"), container=raw.get("container"), importer=importer)


def _dag(raw: Mapping[str, Any]) -> Dag:
    outputs = raw.get("outputs") or {}
    return Dag(
        tasks={name: _task(name, task or {}) for name, task in (raw.get("tasks") or {}).items()},
        parameters={
            name: tuple(_parameter_selectors(each)) for name, each in (outputs.get("parameters") or {}).items()
        },
        artifacts={
            name: tuple(
                Selector(task=one["producerSubtask"], key=one["outputArtifactKey"])
                for one in each.get("artifactSelectors") or []
            )
            for name, each in (outputs.get("artifacts") or {}).items()
        },
    )


def _parameter_selectors(raw: Mapping[str, Any]) -> Iterator[Selector]:
    one_of = (raw.get("valueFromOneof") or {}).get("parameterSelectors") or []
    for each in [raw["valueFromParameter"]] if "valueFromParameter" in raw else one_of:
        yield Selector(task=each["producerSubtask"], key=each["outputParameterKey"])


def _task(name: str, raw: Mapping[str, Any]) -> TaskSpec:
    inputs, trigger = raw.get("inputs") or {}, raw.get("triggerPolicy") or {}
    caching = raw.get("cachingOptions") or {}
    parameters = {key: parse_source(each) for key, each in (inputs.get("parameters") or {}).items()}
    artifacts = {key: _artifact_source(each) for key, each in (inputs.get("artifacts") or {}).items()}
    sources = [*parameters.values(), *artifacts.values()]
    producers = [producer for source in sources for producer in (source.task, source.status_of) if producer]
    return TaskSpec(
        name=name,
        display_name=str((raw.get("taskInfo") or {}).get("name") or name),
        component=str((raw.get("componentRef") or {}).get("name") or ""),
        parameters=parameters,
        artifacts=artifacts,
        depends_on=tuple(dict.fromkeys([*(raw.get("dependentTasks") or []), *producers])),
        condition=str(trigger.get("condition") or ""),
        runs_after_failures=trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED",
        iterator=_iterator(name, raw),
        retry=_retry(raw.get("retryPolicy") or {}),
        enables_cache=bool(caching.get("enableCache")),
        cache_key=str(caching.get("cacheKey") or ""),
    )


def parse_source(raw: Mapping[str, Any]) -> Source:
    """Where an input parameter comes from."""
    selector = str(raw.get("parameterExpressionSelector") or "")
    if "taskOutputParameter" in raw:
        producer = raw["taskOutputParameter"]
        return Source(task=producer["producerTask"], key=producer["outputParameterKey"], selector=selector)
    if "componentInputParameter" in raw:
        return Source(input=raw["componentInputParameter"], selector=selector)
    if "taskFinalStatus" in raw:
        return Source(status_of=raw["taskFinalStatus"]["producerTask"])
    return _value(raw.get("runtimeValue") or {}, selector)


def _value(raw: Mapping[str, Any], selector: str = "") -> Source:
    """A `ValueOrRuntimeParameter`, in its present or its old form."""
    if "runtimeParameter" in raw:
        return Source(input=raw["runtimeParameter"], selector=selector)
    old = raw.get("constantValue")
    constant = raw.get("constant") if old is None else next(iter(old.values()), None)
    return Source(constant=plain(constant), selector=selector)


def _artifact_source(raw: Mapping[str, Any]) -> Source:
    if "taskOutputArtifact" in raw:
        producer = raw["taskOutputArtifact"]
        return Source(task=producer["producerTask"], key=producer["outputArtifactKey"])
    return Source(input=str(raw.get("componentInputArtifact") or ""))


def _iterator(task: str, raw: Mapping[str, Any]) -> ItemIterator | None:
    parallelism = int((raw.get("iteratorPolicy") or {}).get("parallelismLimit") or 0)
    if "parameterIterator" in raw:
        iterator, items = raw["parameterIterator"], raw["parameterIterator"].get("items") or {}
        return ItemIterator(
            item_input=iterator["itemInput"],
            input=items.get("inputParameter"),
            raw=_raw_items(task, items["raw"]) if "raw" in items else None,
            parallelism=parallelism,
        )
    if "artifactIterator" in raw:
        iterator = raw["artifactIterator"]
        return ItemIterator(
            item_input=iterator["itemInput"],
            input=iterator["items"]["inputArtifact"],
            is_artifact=True,
            parallelism=parallelism,
        )
    return None


def _raw_items(task: str, text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except ValueError as error:
        raise InvalidPipeline(f"task {task!r} loops over text that is not JSON: {text[:200]}") from error
    if not isinstance(items, list):
        raise InvalidPipeline(f"task {task!r} loops over something that is not a list: {text[:200]}")
    return items


def _retry(raw: Mapping[str, Any]) -> Retry:
    return Retry(
        count=int(raw.get("maxRetryCount") or 0),
        backoff_s=_seconds(raw.get("backoffDuration")),
        factor=float(raw.get("backoffFactor") or 2.0),
        max_backoff_s=min(_seconds(raw.get("backoffMaxDuration")) or MAX_BACKOFF_S, MAX_BACKOFF_S),
    )


def _seconds(duration: Any) -> float:
    if isinstance(duration, Mapping):
        return float(duration.get("seconds") or 0) + float(duration.get("nanos") or 0) / 1e9
    match = re.fullmatch(r"([0-9.]+)s?", str(duration or 0))
    if match is None:
        raise InvalidPipeline(f"{duration!r} is not a duration; write seconds, as in 30s")
    return float(match[1])


def _check(pipeline: Pipeline) -> None:
    for component in [pipeline.root, *pipeline.components.values()]:
        _check_names(component)
        if component.dag is None:
            if component.executor not in pipeline.executors:
                raise InvalidPipeline(f"{component.name} names the executor {component.executor!r}, which is missing")
            continue
        for task in component.dag.tasks.values():
            if task.component not in pipeline.components:
                raise InvalidPipeline(f"task {task.name!r} names the component {task.component!r}, which is missing")
            unknown = [name for name in task.depends_on if name not in component.dag.tasks]
            if unknown:
                raise InvalidPipeline(f"task {task.name!r} waits for {unknown[0]!r}, which is not in {component.name}")
        _check_order(component.name, component.dag)
    _check_nesting(pipeline)
    check_references(pipeline)


def _check_names(component: Component) -> None:
    """Tasks have folders, and outputs files, of their names. KFP's compiler makes none but letters, digits, - and _."""
    outputs = [*component.output_parameters, *component.output_artifacts]
    for name in outputs if component.dag is None else component.dag.tasks:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            kind = "an output" if component.dag is None else "a task"
            raise InvalidPipeline(
                f"{component.name} has {kind} called {name!r}, which no file can be called: rename it"
            )


def _check_order(name: str, dag: Dag) -> None:
    done: set[str] = set()
    while len(done) < len(dag.tasks):
        ready = {task.name for task in dag.tasks.values() if task.name not in done and done.issuperset(task.depends_on)}
        if not ready:
            raise InvalidPipeline(f"tasks of {name} wait for each other: {', '.join(sorted(set(dag.tasks) - done))}")
        done |= ready


def _check_nesting(pipeline: Pipeline) -> None:
    def visit(component: Component, above: tuple[str, ...]) -> None:
        if component.name in above:
            raise InvalidPipeline(f"{component.name} holds itself")
        for task in component.dag.tasks.values() if component.dag else ():
            visit(pipeline.component_of(task), (*above, component.name))

    visit(pipeline.root, ())
