"""A copy of a compiled pipeline that may be changed: the only writer of its documents."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from trainwright_pipelines.ir.compiled import CompiledPipeline


class Draft:
    """The documents of `compiled`, to be changed part by part.

    Parts are as the spec has them: dictionaries whose changes count.
    """

    def __init__(self, compiled: CompiledPipeline) -> None:
        self._compiled = compiled
        self._spec: dict[str, Any] = copy.deepcopy(dict(compiled.spec))

    def done(self, *, platform: Mapping[str, Any] | None = None) -> CompiledPipeline:
        """The changed pipeline, with its platform document or another one."""
        platform = self._compiled.platform if platform is None else platform
        return CompiledPipeline(name=self._compiled.name, spec=self._spec, platform=platform)

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The containers with the names of their executors."""
        executors = (self._spec.get("deploymentSpec") or {}).get("executors") or {}
        for label, executor in executors.items():
            if "container" in executor:
                yield label, executor["container"]

    def tasks(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The tasks of all DAGs, each after the names of its DAG's component and its own."""
        for name, component in {**(self._spec.get("components") or {}), "root": self._spec["root"]}.items():
            for task, raw in ((component.get("dag") or {}).get("tasks") or {}).items():
                yield name, task, raw


def switch_off_cache(task: dict[str, Any]) -> None:
    """Have a task of a draft never be taken from a cache."""
    task["cachingOptions"] = {}


def show_as(task: dict[str, Any], name: str) -> None:
    """Give a task of a draft another display name."""
    task["taskInfo"] = {**(task.get("taskInfo") or {}), "name": name}
