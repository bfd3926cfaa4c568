"""Switch caching off where a remote target's cache would be wrong.

KFP and Vertex AI know an input by its text: of a file that changed under the same address they give yesterday's result.
Their clients switch caching off in the outermost DAG alone (kfp 2.17.0, google-cloud-aiplatform 2.7.0).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.locations import is_location_name
from trainwright_pipelines.targets.known_values import Known, Scope, each_inputs, known_parameters
from trainwright_pipelines.targets.lowering import copy_pipeline, dags


def without_cache(pipeline: CompiledPipeline) -> CompiledPipeline:
    """`pipeline` with caching switched off in every task, however deep."""
    changed = copy_pipeline(pipeline)
    for dag in dags(changed.spec):
        for task in dag.get("tasks", {}).values():
            task["cachingOptions"] = {}
    return changed


def without_stale_cache(
    pipeline: CompiledPipeline, values: Mapping[str, Any] | None = None, *, lasting: Collection[str] = ()
) -> CompiledPipeline:
    """`pipeline` without caching of steps that read from an address or a path, whose content may have changed.

    A task whose author gave it a cache key keeps it.

    Args:
        pipeline: The pipeline.
        values: The run's parameters; None where they are not known yet, so that parameters count by their names
            and by their defaults.
        lasting: Addresses whose content never changes.
    """
    changed = copy_pipeline(pipeline)
    walk = _Walk(spec=changed.spec, lasting=frozenset(lasting))
    known = known_parameters(changed.spec, values or {})
    for scope in [{}, known] if values is None else [known]:
        for task in walk.readers(changed.spec["root"], scope, frozenset()):
            if not task.get("cachingOptions", {}).get("cacheKey"):
                task["cachingOptions"] = {}
    return changed


@dataclass(frozen=True, kw_only=True)
class _Walk:
    spec: Mapping[str, Any]
    lasting: frozenset[str]

    def readers(self, around: Mapping[str, Any], scope: Scope, references: frozenset[str]) -> Iterator[dict[str, Any]]:
        """The tasks below a component that read from somewhere; `references` are its artifacts that are imported."""
        tasks = around.get("dag", {}).get("tasks", {})
        inputs = {name: each_inputs(task, self._component(task), scope) for name, task in tasks.items()}
        imported = {name: self._imported(task, inputs[name]) for name, task in tasks.items()}
        for name, task in tasks.items():
            component = self._component(task)
            referred = frozenset(
                key
                for key, source in task.get("inputs", {}).get("artifacts", {}).items()
                if _comes_from(source.get("taskOutputArtifact", {}), imported)
                or source.get("componentInputArtifact") in references
            )
            if "dag" in component:
                for each in inputs[name]:
                    yield from self.readers(component, each, referred)
            elif imported[name] or referred or any(self._reads(task, each) for each in inputs[name]):
                yield task

    def _imported(self, task: Mapping[str, Any], inputs: list[dict[str, Known]]) -> frozenset[str]:
        """The output artifacts of a task that an importer, it or one below it, gives."""
        component = self._component(task)
        if self._is_importer(task):
            outputs = component.get("outputDefinitions", {}).get("artifacts", {})
            return frozenset(outputs if any(self._reads(task, each) for each in inputs) else ())
        dag = component.get("dag", {})
        found: set[str] = set()
        for scope in inputs:
            below = {
                name: self._imported(each, each_inputs(each, self._component(each), scope))
                for name, each in dag.get("tasks", {}).items()
            }
            found.update(
                key
                for key, output in dag.get("outputs", {}).get("artifacts", {}).items()
                if any(_comes_from(selector, below) for selector in output.get("artifactSelectors", ()))
            )
        return frozenset(found)

    def _component(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
        return found

    def _is_importer(self, task: Mapping[str, Any]) -> bool:
        executors = self.spec.get("deploymentSpec", {}).get("executors", {})
        return "importer" in executors.get(self._component(task).get("executorLabel", ""), {})

    def _reads(self, task: Mapping[str, Any], inputs: Scope) -> bool:
        given = task.get("inputs", {}).get("parameters", {})
        declared = self._component(task).get("inputDefinitions", {}).get("parameters", {})
        unknown = (given.keys() | declared.keys()) - inputs.keys()
        return (
            any(map(is_location_name, unknown))
            or "://" in json.dumps([raw for key, raw in given.items() if key in unknown])
            or any(self._is_changeable(each.value) for each in inputs.values())
        )

    def _is_changeable(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(map(self._is_changeable, value.values()))
        if isinstance(value, list):
            return any(map(self._is_changeable, value))
        return isinstance(value, str) and value not in self.lasting and ("://" in value or value.startswith("/"))


def _comes_from(place: Mapping[str, Any], imported: Mapping[str, Collection[str]]) -> bool:
    producer = place.get("producerTask") or place.get("producerSubtask") or ""
    return place.get("outputArtifactKey") in imported.get(producer, ())
