"""Who works on what: one process at a time executes a run, whatever happens to the others."""

import os
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, insert, select, update

from trainwright_components.errors import RunFailed
from trainwright_components.processes.identity import is_same_process, start_of
from trainwright_pipelines.engine.tables import LEASES

STALE_AFTER_S = 60.0
_RELEASED: set[str] = set()
"""Owners that gave up their leases: on a full disk the row stays, and a notebook's process lives on."""


class LeaseHeld(RunFailed):
    """Another living process has the lease."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on something, until released or stale."""

    engine: Engine
    name: str
    owner: str

    def renew(self) -> bool:
        """Show that this process lives; False if the lease was taken over."""
        with _writer(self.engine).begin() as connection:
            mine = (LEASES.c.name == self.name) & (LEASES.c.owner == self.owner)
            return connection.execute(update(LEASES).where(mine).values(renewed=time.time())).rowcount == 1

    def release(self) -> None:
        """Give it up; in this process also where that cannot be recorded."""
        try:
            with _writer(self.engine).begin() as connection:
                connection.execute(delete(LEASES).where(LEASES.c.name == self.name, LEASES.c.owner == self.owner))
        except BaseException:
            _RELEASED.add(self.owner)
            raise


def acquire_lease(engine: Engine, name: str) -> Lease:
    """Take the lease `name`, also from a process that is dead or has not renewed it for a minute.

    Raises:
        LeaseHeld: A living process has it.
    """
    owner = uuid.uuid4().hex
    row: dict[str, Any] = {
        "name": name,
        "owner": owner,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_created": start_of(os.getpid()),
        "renewed": time.time(),
    }
    with _writer(engine).begin() as connection:
        held = connection.execute(select(LEASES).where(LEASES.c.name == name)).mappings().first()
        if held is not None and not is_stale(held):
            raise LeaseHeld(f"{name} is being worked on by process {held['pid']} on {held['host']}")
        connection.execute(delete(LEASES).where(LEASES.c.name == name))
        connection.execute(insert(LEASES).values(row))
    return Lease(engine=engine, name=name, owner=owner)


def is_held(engine: Engine, name: str) -> bool:
    """Whether a living process has the lease."""
    with engine.connect() as connection:
        held = connection.execute(select(LEASES).where(LEASES.c.name == name)).mappings().first()
    return held is not None and not is_stale(held)


def is_stale(held: RowMapping) -> bool:
    """Whether the process behind a row of `LEASES` is gone, or has not renewed it for a minute."""
    if held["owner"] in _RELEASED:
        return True
    if held["host"] == socket.gethostname():
        return not is_same_process(held["pid"], held["pid_created"])
    return bool(time.time() - held["renewed"] > STALE_AFTER_S)


def _writer(engine: Engine) -> Engine:
    return engine.execution_options(writes=True)
