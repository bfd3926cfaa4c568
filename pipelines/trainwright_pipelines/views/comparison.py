"""What differs between runs: parameters, hyperparameters, metrics, data, code of steps and model module, versions."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.images import is_logical
from trainwright_components.metrics.directions import direction_of
from trainwright_pipelines.engine.records import Artifact, Run, Task
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.views.headlines import in_time_order, is_component, metric_artifacts
from trainwright_pipelines.views.wording import has_own_code

_SHOWN_DIGEST = 12
_NOT_DATA = ("module", "serving.base_path")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One line of a comparison: the values in the order of the runs, None where a run has none.

    Metrics have `more_is_better`, None where neither more nor less is, and in `best` the places of the runs that are
    best by it.
    """

    name: str
    values: tuple[Any, ...]
    more_is_better: bool | None = None
    best: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between `runs`, by section; metrics are there also where they are the same."""

    runs: tuple[str, ...]
    sections: Mapping[str, tuple[Difference, ...]] = field(default_factory=dict)
    module_differences: Mapping[str, str] = field(default_factory=dict)
    """A unified difference of the model module from that of the first run, by the id of the other run."""
    code_differences: Mapping[str, str] = field(default_factory=dict)
    """The same of the steps' own code: Python source, or the command of a container, without our components."""
    is_of_same_data: bool = True
    """Whether the metrics were measured on the same prepared rows."""


def compare_runs(runs: Sequence[tuple[Run, Sequence[Task]]], specs: Sequence[str] = ()) -> Comparison:
    """Compare two or more runs with their tasks, and the code of their steps where their compiled `specs` are given."""
    ordered = [(run, in_time_order(tasks)) for run, tasks in runs]
    code = [_code(spec, tasks) for spec, (_, tasks) in zip(specs, ordered, strict=False)]
    sections = {
        "parameters": _differing([flat_values(run.parameters) for run, _ in ordered]),
        "hyperparameters": _differing([_hyperparameters(tasks) for _, tasks in ordered]),
        "metrics": tuple(_metrics([_metric_values(tasks) for _, tasks in ordered])),
        "data": _differing([_data(run, tasks) for run, tasks in ordered]),
        "module": _differing([_module_digest(tasks) for _, tasks in ordered]),
        "code": _differing([{name: _digest(text) for name, text in each.items()} for each in code]),
        "versions": _differing([_versions(run) for run, _ in ordered]),
    }
    return Comparison(
        runs=tuple(run.id for run, _ in ordered),
        sections={name: found for name, found in sections.items() if found},
        module_differences=_module_differences(ordered),
        code_differences=_text_differences([run.id for run, _ in ordered], code),
        is_of_same_data=len({_datasets(tasks) for _, tasks in ordered}) == 1,
    )


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with their names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat_values(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _differing(columns: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    names = dict.fromkeys(name for column in columns for name in column)
    rows = (Difference(name=name, values=tuple(column.get(name) for column in columns)) for name in names)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _metrics(columns: Sequence[Mapping[str, float]]) -> Iterator[Difference]:
    for name in dict.fromkeys(name for column in columns for name in column):
        values = tuple(column.get(name) for column in columns)
        known = [value for value in values if value is not None and value == value]
        more_is_better = direction_of(name.rpartition(" ")[2])
        best = (max if more_is_better else min)(known) if known else None
        places = tuple(place for place, value in enumerate(values) if value == best)
        is_decided = more_is_better is not None and len(known) > 1 and len(places) < len(known)
        yield Difference(name=name, values=values, more_is_better=more_is_better, best=places if is_decided else ())


def _metric_values(tasks: Sequence[Task]) -> dict[str, float]:
    """Of training, evaluation and steps that are not ours; sizes and times of our others are no metrics of a model."""
    found: dict[str, float] = {}
    for task, artifact in metric_artifacts(tasks):
        if has_own_code(task) or any(is_component(task, name) for name in ("train-distributed", "evaluate")):
            for name, value in artifact.metadata.items():
                if isinstance(value, int | float) and not isinstance(value, bool) and name != "rows":
                    found[f"{task.label} {name}"] = float(value)
    return found


def _hyperparameters(tasks: Sequence[Task]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder in _models(tasks):
        for name, file, key in (("params", "params.json", None), ("training", "training.json", "settings")):
            try:
                read = json.loads((folder / file).read_text())
                found |= flat_values(read if key is None else read[key], f"{name}.")
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # a model of another release, or one that is gone
    return found


def _models(tasks: Sequence[Task]) -> list[Path]:
    """Folders of the trained models; the last one comes last."""
    return [
        artifact.path
        for task in tasks
        if is_component(task, "train-distributed")
        for artifact in task.outputs.artifacts.get("model", ())
        if artifact.path is not None
    ]


def _data(run: Run, tasks: Sequence[Task]) -> dict[str, str]:
    found = {}
    for name, each in (run.provenance.get("inputs") or {}).items():
        if name not in _NOT_DATA:
            found[name] = str(each.get("digest") or "unknown")[:_SHOWN_DIGEST]
    return found | {name: digest[:_SHOWN_DIGEST] for name, digest in _datasets(tasks)}


def _datasets(tasks: Sequence[Task]) -> tuple[tuple[str, str], ...]:
    """The datasets that steps prepared, by step and slot, with their digests."""
    return tuple(
        (f"{task.label} {slot}", artifact.digest)
        for task in tasks
        for slot, artifacts in ({} if task.is_group else task.outputs.artifacts).items()
        for artifact in artifacts
        if artifact.type == "system.Dataset" and artifact.digest
    )


def _module_digest(tasks: Sequence[Task]) -> dict[str, str]:
    digests = {each.digest[:_SHOWN_DIGEST] for each in _modules(tasks) if each.digest}
    return {"digest": ", ".join(sorted(digests))} if digests else {}


def _modules(tasks: Sequence[Task]) -> Iterator[Artifact]:
    for task in tasks:
        if is_component(task, "train-distributed") or is_component(task, "hyperparameter-tune"):
            yield from task.inputs.artifacts.get("module", ())


def _versions(run: Run) -> dict[str, Any]:
    made_of = run.provenance
    found = {name: made_of.get(name) for name in ("python", "system", "host")}
    found["components"] = str(made_of.get("components_digest") or "")[:_SHOWN_DIGEST] or None
    for repository in made_of.get("git") or ():
        changed = " with changes" if repository.get("difference") else ""
        found[f"git {Path(repository['repository']).name}"] = f"{repository.get('commit', '')[:_SHOWN_DIGEST]}{changed}"
    return found | {f"package {name}": version for name, version in (made_of.get("packages") or {}).items()}


def _module_differences(runs: Sequence[tuple[Run, Sequence[Task]]]) -> dict[str, str]:
    return _text_differences([run.id for run, _ in runs], [_module_text(tasks) for _, tasks in runs])


def _text_differences(runs: Sequence[str], texts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What differs from the texts of the first run, by the id of the other run."""
    found = {}
    for run, after in list(zip(runs, texts, strict=False))[1:]:
        before = texts[0]
        if before and after and before != after:
            files = sorted(before.keys() | after.keys())
            found[run] = "".join(_file_difference(name, before, after, runs[0], run) for name in files)
    return found


def _code(spec_text: str, tasks: Sequence[Task]) -> dict[str, str]:
    """What each component that is not ours runs, with its image first."""
    pipeline = parse_pipeline(spec_text)
    containers = {
        component.name: executor.container
        for component in pipeline.components.values()
        if (executor := pipeline.executors.get(component.executor)) and executor.container
    }
    found = {}
    for task in tasks:
        container = containers.get(task.component, {})
        if container and not is_logical(str(container.get("image") or "")):
            lines = [str(container.get("image")), *(container.get("command") or ()), *(container.get("args") or ())]
            found[task.component.removeprefix("comp-")] = "\n".join(lines)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SHOWN_DIGEST]


def _file_difference(name: str, before: Mapping[str, str], after: Mapping[str, str], one: str, other: str) -> str:
    old, new = (each.get(name, "").splitlines(keepends=True) for each in (before, after))
    changed = difflib.unified_diff(old, new, fromfile=f"{one}/{name}", tofile=f"{other}/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in changed)


def _module_text(tasks: Sequence[Task]) -> dict[str, str]:
    """The Python files of the model module that lies beside the last trained model, as it was when it trained."""
    folder = next((each / "module" for each in reversed(_models(tasks))), None)
    if folder is None or not folder.is_dir():
        return {}
    files = sorted(each for each in folder.rglob("*.py") if "__pycache__" not in each.parts)
    return {file.relative_to(folder).as_posix(): file.read_text(errors="replace") for file in files}
