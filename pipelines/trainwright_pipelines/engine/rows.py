"""Records to rows of the store's tables, and back."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping

from trainwright_pipelines.engine.records import Artifact, Attempt, Run, State, Task, TaskKind, Values
from trainwright_pipelines.engine.tables import ARTIFACTS

SIDES = ("inputs", "outputs")
_LASTING = {"id", "run_id", "name", "path", "parent_path", "kind", "component", "display_name", "depends_on", "created"}
"""Columns of a task that stay as they were first recorded, and are not written again: the indexed ones cost most."""


def row_of_run(run: Run) -> dict[str, Any]:
    """All columns but the spec's text and the request to cancel."""
    row = {name: value for name, value in vars(run).items() if name != "cancel_requested"}
    return row | {
        "state": run.state.value,
        "folder": str(run.folder),
        "outputs": {"parameters": dict(run.outputs.parameters), "artifacts": _artifact_ids(run.outputs)},
        "parameters": dict(run.parameters),
        "provenance": dict(run.provenance),
        "artifacts": dict(run.artifacts),
        "isolation": dict(run.isolation),
        "images": dict(run.images),
        "warnings": list(run.warnings),
    }


def run_of_row(row: RowMapping, artifacts: Mapping[str, Artifact]) -> Run:
    """The run of a row of `RUNS`; `artifacts` has those that it returned, by id."""
    returned = row["outputs"].get("artifacts", {}).items()
    found = {slot: tuple(artifacts[each] for each in ids if each in artifacts) for slot, ids in returned}
    outputs = Values(parameters=row["outputs"]["parameters"], artifacts=found)
    fields: dict[str, Any] = {**row, "state": State(row["state"]), "folder": Path(row["folder"]), "outputs": outputs}
    return Run(**fields | {"warnings": tuple(row["warnings"])})


def row_of_task(task: Task) -> dict[str, Any]:
    """All columns of `TASKS`; artifacts have a table of their own."""
    return {name: _COLUMNS.get(name, _same)(value) for name, value in vars(task).items()}


def changed_columns(task: Task, before: Task | None) -> dict[str, Any]:
    """The columns in which a task differs from what is on record of it, or may differ where that is not known."""
    return {
        name: _COLUMNS.get(name, _same)(value)
        for name, value in vars(task).items()
        if name not in _LASTING and (before is None or getattr(before, name) != value)
    }


def task_of_row(row: RowMapping, links: Mapping[tuple[str, str], list[Artifact]]) -> Task:
    """The task of a row of `TASKS`, with its artifacts by side and slot."""
    values = {
        side: Values(
            parameters=row[side]["parameters"],
            artifacts={slot: tuple(links.get((side, slot), ())) for slot in row[side]["slots"]},
        )
        for side in SIDES
    }
    fields: dict[str, Any] = {name: value for name, value in row.items() if name != "sequence"}
    fields |= {
        "kind": TaskKind(row["kind"]),
        "state": State(row["state"]),
        "depends_on": tuple(row["depends_on"]),
        "folder": None if row["folder"] is None else Path(row["folder"]),
        "log": None if row["log"] is None else Path(row["log"]),
        "attempts": tuple(_attempt_of_row(each) for each in row["attempts"]),
        "warnings": tuple(row["warnings"]),
    }
    return Task(**(fields | values))


def _same(value: Any) -> Any:
    return value


def _row_of_values(values: Values) -> dict[str, Any]:
    return {"parameters": dict(values.parameters), "slots": list(values.artifacts)}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _row_of_attempt(attempt: Attempt) -> dict[str, Any]:
    return vars(attempt) | {
        "state": attempt.state.value,
        "started": attempt.started.isoformat(),
        "finished": attempt.finished.isoformat() if attempt.finished else None,
        "log": _text(attempt.log),
        "stale": dict(attempt.stale),
    }


_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "kind": lambda kind: kind.value,
    "state": lambda state: state.value,
    "depends_on": list,
    "inputs": _row_of_values,
    "outputs": _row_of_values,
    "folder": _text,
    "log": _text,
    "attempts": lambda attempts: [*map(_row_of_attempt, attempts)],
    "warnings": list,
    "resources": dict,
    "cache": dict,
}
"""How the fields of a task become columns, those that do not as they are."""


def _attempt_of_row(row: Mapping[str, Any]) -> Attempt:
    fields: dict[str, Any] = {
        **row,
        "state": State(row["state"]),
        "started": datetime.fromisoformat(row["started"]),
        "finished": datetime.fromisoformat(row["finished"]) if row["finished"] else None,
        "log": None if row["log"] is None else Path(row["log"]),
        "warnings": tuple(row.get("warnings") or ()),
    }
    return Attempt(**fields)


def artifact_of_row(row: RowMapping) -> Artifact:
    """The artifact of a row that has the columns of `ARTIFACTS`."""
    return Artifact(**{name: row[name] for name in ARTIFACTS.c.keys()})  # noqa: SIM118  a column collection is not a dict


def returned_artifacts(row: RowMapping) -> Iterator[str]:
    """Ids of the artifacts that the run of a row returned."""
    return itertools.chain.from_iterable(row["outputs"].get("artifacts", {}).values())


def _artifact_ids(values: Values) -> dict[str, list[str]]:
    return {slot: [artifact.id for artifact in artifacts] for slot, artifacts in values.artifacts.items()}
