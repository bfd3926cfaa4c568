"""The version of the store's schema, and the steps that bring an older one up to date.

A new database gets the tables of `tables.py` at once; one that exists gets the numbered steps between its version and
this one. Version 1 had no table that says so.

To change the schema, change `tables.py` and append a step: a test compares a home brought up to date with a new one. A
step that changes `leases` has to see to `_refuse_live_runs`, which reads them as they are now.
"""

from pathlib import Path

from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, inspect, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.leases import is_stale
from trainwright_pipelines.engine.tables import LEASES, METADATA, RUNS
from trainwright_pipelines.engine.unwritable import damaged, why_unwritable

STEPS = (
    # 1 to 2: which runs were compiled for components with other names, and cannot be repeated
    ("ALTER TABLE runs ADD COLUMN components_revision INTEGER DEFAULT 1 NOT NULL",),
    # 2 to 3: what a run was given and told, what a step asked for and used, why it hit or missed the cache
    (
        "ALTER TABLE runs ADD COLUMN artifacts JSON DEFAULT '{}' NOT NULL",
        "ALTER TABLE runs ADD COLUMN isolation JSON DEFAULT '{}' NOT NULL",
        "ALTER TABLE runs ADD COLUMN requires_outputs BOOLEAN DEFAULT 0 NOT NULL",
        "ALTER TABLE runs ADD COLUMN images JSON DEFAULT '{}' NOT NULL",
        "ALTER TABLE runs ADD COLUMN warnings JSON DEFAULT '[]' NOT NULL",
        "ALTER TABLE tasks ADD COLUMN title TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE tasks ADD COLUMN warnings JSON DEFAULT '[]' NOT NULL",
        "ALTER TABLE tasks ADD COLUMN resources JSON DEFAULT '{}' NOT NULL",
        "ALTER TABLE tasks ADD COLUMN cache JSON DEFAULT '{}' NOT NULL",
        "ALTER TABLE events ADD COLUMN is_warning BOOLEAN DEFAULT 0 NOT NULL",
        "ALTER TABLE cache ADD COLUMN component VARCHAR(64) DEFAULT '' NOT NULL",
        "ALTER TABLE cache ADD COLUMN parts JSON DEFAULT '{}' NOT NULL",
        "CREATE INDEX cache_by_component ON cache (component, created)",
        "CREATE INDEX ix_cache_task_id ON cache (task_id)",
    ),
    # 3 to 4: how many iterations a loop has, of which not all are open at once
    ("ALTER TABLE tasks ADD COLUMN item_count INTEGER",),
)
VERSION = len(STEPS) + 1

_SCHEMA = Table("schema_version", MetaData(), Column("version", Integer, nullable=False))


def migrate(engine: Engine, home: Path) -> None:
    """Make the tables, or bring those of an older release up to date; all of it or nothing.

    Raises:
        InvalidSetting: A newer release wrote the store, a process of an older one is using it, or it has other tables
            than its version.
    """
    with engine.connect() as connection:
        if _version(connection, home) == VERSION:
            return
    # SQLite's write lock, taken as the transaction begins, makes other processes wait here until the work is done.
    with engine.execution_options(writes=True).begin() as connection:
        found = _version(connection, home)
        if found == VERSION:
            return
        if found > VERSION:
            raise InvalidSetting(
                f"the record of runs in {home} was written by a newer release of trainwright: its schema has version "
                f"{found}, this release knows {VERSION} and older. Install that release (pip install --upgrade "
                "trainwright), or set TRAINWRIGHT_HOME to another folder"
            )
        try:
            _bring_up(connection, found, home)
        except DBAPIError as error:
            if why_unwritable(error, home):
                raise
            raise InvalidSetting(damaged(home, f"its tables are not those of version {found}")) from error


def _bring_up(connection: Connection, found: int, home: Path) -> None:
    if found == 0:
        METADATA.create_all(connection)
    else:
        _refuse_live_runs(connection, home)
    for statements in STEPS[found - 1 :] if found else ():
        for statement in statements:
            connection.execute(text(statement))
    _record(connection)


def _version(connection: Connection, home: Path) -> int:
    """0 for an empty database."""
    tables = inspect(connection)
    if tables.has_table(_SCHEMA.name):
        match connection.execute(select(_SCHEMA.c.version)).scalars().all():
            case [int(version)] if version >= 1:
                return version
            case other:
                raise InvalidSetting(
                    damaged(home, f"the version of its schema is {', '.join(map(str, other)) or 'missing'}")
                )
    return 1 if tables.has_table(RUNS.name) else 0


def _record(connection: Connection) -> None:
    _SCHEMA.create(connection, checkfirst=True)
    if connection.execute(update(_SCHEMA).values(version=VERSION)).rowcount == 0:
        connection.execute(insert(_SCHEMA).values(version=VERSION))


def _refuse_live_runs(connection: Connection, home: Path) -> None:
    """A process of the older release would meet rows that it cannot read."""
    for held in connection.execute(select(LEASES)).mappings():
        if not is_stale(held):
            raise InvalidSetting(
                f"run {held['name']} in {home} is being executed by process {held['pid']} on {held['host']}, of an "
                "older release of trainwright: wait for its end or stop it, then try again"
            )
