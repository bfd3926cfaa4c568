"""Switch caching off where a remote target's cache would be wrong, or where the component says so.

KFP and Vertex AI know an input by its text: of a file that changed under the same address they give yesterday's result.
Their clients switch caching off in the outermost DAG alone (kfp 2.17.0, google-cloud-aiplatform 2.7.0).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_components.reuse import NEVER_REUSED, states
from trainwright_components.storage.addresses import is_remote
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.ir.draft import Draft, switch_off_cache
from trainwright_pipelines.ir.spec import Component, Pipeline, TaskSpec
from trainwright_pipelines.requests.locations import is_location_name
from trainwright_pipelines.targets.known_values import Known, Scope, each_inputs, known_parameters


def without_cache(compiled: CompiledPipeline) -> CompiledPipeline:
    """`compiled` with caching switched off in every task, however deep."""
    draft = Draft(compiled)
    for _, _, task in draft.tasks():
        switch_off_cache(task)
    return draft.done()


def without_stale_cache(
    compiled: CompiledPipeline, values: Mapping[str, Any] | None = None, *, lasting: Collection[str] = ()
) -> CompiledPipeline:
    """`compiled` without caching of steps that read from an address or a path, whose content may have changed.

    A task whose author gave it a cache key keeps it, unless its component says that its results are never reused.

    Args:
        compiled: The pipeline.
        values: The run's parameters; None where they are not known yet, so that parameters count by their names
            and by their defaults.
        lasting: Addresses whose content never changes.
    """
    pipeline = compiled.pipeline
    walk = _Walk(pipeline=pipeline, lasting=frozenset(lasting))
    known = known_parameters(pipeline, values or {})
    scopes: list[Scope] = [{}, known] if values is None else [known]
    stale = {place for scope in scopes for place in walk.readers(pipeline.root, scope, frozenset())}
    draft = Draft(compiled)
    for component, name, task in draft.tasks():
        if (component, name) in stale:
            switch_off_cache(task)
    return draft.done()


@dataclass(frozen=True, kw_only=True)
class _Walk:
    pipeline: Pipeline
    lasting: frozenset[str]

    def readers(self, around: Component, scope: Scope, references: frozenset[str]) -> Iterator[tuple[str, str]]:
        """The tasks below a component that read from somewhere: names of its DAG's component and its own.

        `references` are artifacts of the component that are imported.
        """
        tasks = around.dag.tasks if around.dag is not None else {}
        inputs = {name: each_inputs(task, self.pipeline.component_of(task), scope) for name, task in tasks.items()}
        imported = {name: self._imported(task, inputs[name]) for name, task in tasks.items()}
        for name, task in tasks.items():
            component = self.pipeline.component_of(task)
            referred = frozenset(
                key
                for key, source in task.artifacts.items()
                if source.key in imported.get(source.task or "", ()) or source.input in references
            )
            if component.dag is not None:
                for each in inputs[name]:
                    yield from self.readers(component, each, referred)
            elif self._is_never_reused(component) or (
                not task.cache_key
                and (imported[name] or referred or any(self._reads(task, each) for each in inputs[name]))
            ):
                yield around.name, name

    def _is_never_reused(self, component: Component) -> bool:
        executor = self.pipeline.executor_of(component)
        return executor is not None and states(executor.container or {}, NEVER_REUSED)

    def _imported(self, task: TaskSpec, inputs: list[dict[str, Known]]) -> frozenset[str]:
        """The output artifacts of a task that an importer, it or one below it, gives."""
        component = self.pipeline.component_of(task)
        if self.pipeline.importer_of(component) is not None:
            reads = any(self._reads(task, each) for each in inputs)
            return frozenset(component.output_artifacts if reads else ())
        if component.dag is None:
            return frozenset()
        found: set[str] = set()
        for scope in inputs:
            below = {
                name: self._imported(each, each_inputs(each, self.pipeline.component_of(each), scope))
                for name, each in component.dag.tasks.items()
            }
            found.update(
                key
                for key, selectors in component.dag.artifacts.items()
                if any(selector.key in below.get(selector.task, ()) for selector in selectors)
            )
        return frozenset(found)

    def _reads(self, task: TaskSpec, inputs: Scope) -> bool:
        declared = self.pipeline.component_of(task).input_parameters
        unknown = (task.parameters.keys() | declared.keys()) - inputs.keys()
        return (
            any(map(is_location_name, unknown))
            or any(is_remote(json.dumps(source.constant)) for key, source in task.parameters.items() if key in unknown)
            or any(self._is_changeable(each.value) for each in inputs.values())
        )

    def _is_changeable(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(map(self._is_changeable, value.values()))
        if isinstance(value, list):
            return any(map(self._is_changeable, value))
        return isinstance(value, str) and value not in self.lasting and (is_remote(value) or value.startswith("/"))
