"""What is written of tasks, and of the artifacts that they take and give, within a transaction of the store's."""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection

from trainwright_pipelines.engine.records import Task
from trainwright_pipelines.engine.rows import SIDES, changed_columns, row_of_task
from trainwright_pipelines.engine.tables import ARTIFACTS, TASK_ARTIFACTS, TASKS

# Made once: SQLAlchemy takes longer to build and to look up one of these than the database to run it.
_ADD_TASK = insert(TASKS)
_CHANGE_TASK = update(TASKS).where(TASKS.c.id == bindparam("task_id"))
_UNLINK = delete(TASK_ARTIFACTS).where(TASK_ARTIFACTS.c.task_id == bindparam("unlinked"))
_LINK = insert(TASK_ARTIFACTS)
_KNOWN_ARTIFACT = select(ARTIFACTS.c.id).where(ARTIFACTS.c.id == bindparam("known"))
_ADD_ARTIFACT = insert(ARTIFACTS)


def add_tasks(connection: Connection, tasks: Sequence[Task]) -> None:
    """Record tasks that surely are not on record."""
    if tasks:
        connection.execute(_ADD_TASK, [row_of_task(task) for task in tasks])
    for task in tasks:
        _link(connection, task)


def write_tasks(
    connection: Connection, tasks: Sequence[Task], *, added: Sequence[Task], recorded: Mapping[str, Task]
) -> None:
    """Record tasks, see `Store.save_tasks`."""
    known = {task.id for task in tasks if _change(connection, task, recorded.get(task.id))}
    new = [*added, *(task for task in tasks if task.id not in known)]
    linked = [task for task in tasks if task.id in known and not _takes_and_gives(task, recorded.get(task.id))]
    add_tasks(connection, new)
    if linked:
        connection.execute(_UNLINK, [{"unlinked": task.id} for task in linked])
    for task in linked:
        _link(connection, task)


def _change(connection: Connection, task: Task, before: Task | None) -> bool:
    """Record what has changed of a task; False if it is not on record."""
    columns = changed_columns(task, before)
    if not columns:
        return True
    return connection.execute(_CHANGE_TASK, columns | {"task_id": task.id}).rowcount > 0


def _takes_and_gives(task: Task, before: Task | None) -> bool:
    """Whether the artifacts of a task are those that are on record."""
    return before is not None and all(
        getattr(task, side).artifacts == getattr(before, side).artifacts for side in SIDES
    )


def _link(connection: Connection, task: Task) -> None:
    for side, values in zip(SIDES, (task.inputs, task.outputs), strict=True):
        for slot, artifacts in values.artifacts.items():
            for position, artifact in enumerate(artifacts):
                if connection.execute(_KNOWN_ARTIFACT, {"known": artifact.id}).first() is None:
                    connection.execute(_ADD_ARTIFACT, vars(artifact) | {"metadata": dict(artifact.metadata)})
                row = {"task_id": task.id, "side": side, "slot": slot, "position": position}
                connection.execute(_LINK, row | {"artifact_id": artifact.id})
