"""The store's tables, and how a database is opened: WAL for SQLite, so that readers never wait for the writer."""

import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    false,
    text,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from trainwright_components.files import legible
from trainwright_pipelines.ir.json_numbers import dump_json, load_json

_BUSY_TIMEOUT_MS = 30_000
_RETRY_S = 0.01
_JSON: dict[str, Any] = {"json_serializer": dump_json, "json_deserializer": load_json}


class Moment(TypeDecorator[datetime]):
    """A point in time with its zone, kept as UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        """To the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's signature
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


class Message(TypeDecorator[str]):
    """Text for people, which may quote what UTF-8 cannot hold: a path, a line of somebody's file."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  SQLAlchemy's signature
        """To the database."""
        return None if value is None else legible(value)


METADATA = MetaData()

RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(256), nullable=False, index=True),
    Column("pipeline", String(256), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("parameters", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("folder", Text, nullable=False),
    Column("created", Moment, nullable=False, index=True),
    Column("started", Moment),
    Column("finished", Moment),
    Column("scheduled", Moment),
    Column("error", Message, nullable=False),
    Column("uses_cache", Boolean, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("spec_text", Text, nullable=False),
    Column("components_revision", Integer, nullable=False, server_default=text("1")),
    Column("artifacts", JSON, nullable=False, server_default=text("'{}'")),
    Column("isolation", JSON, nullable=False, server_default=text("'{}'")),
    Column("requires_outputs", Boolean, nullable=False, server_default=false()),
    Column("images", JSON, nullable=False, server_default=text("'{}'")),
    Column("warnings", JSON, nullable=False, server_default=text("'[]'")),
)

TASKS = Table(
    "tasks",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("path", Text, nullable=False),
    Column("parent_path", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("component", String(256), nullable=False),
    Column("display_name", String(256), nullable=False),
    Column("title", Text, nullable=False, server_default=text("''")),
    Column("state", String(16), nullable=False),
    Column("is_cached", Boolean, nullable=False),
    Column("cached_from", String(64)),
    Column("depends_on", JSON, nullable=False),
    Column("image", Text, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("error", Message, nullable=False),
    Column("error_detail", Message, nullable=False),
    Column("folder", Text),
    Column("log", Text),
    Column("attempts", JSON, nullable=False),
    Column("created", Moment),
    Column("started", Moment),
    Column("finished", Moment),
    Column("warnings", JSON, nullable=False, server_default=text("'[]'")),
    Column("resources", JSON, nullable=False, server_default=text("'{}'")),
    Column("cache", JSON, nullable=False, server_default=text("'{}'")),
    Column("item_count", Integer),
    Index("tasks_by_path", "run_id", "path", unique=True),
)

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(256), nullable=False),
    Column("type", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("digest", String(64)),
    Column("producer_task_id", String(64), index=True),
    Column("created", Moment),
)

TASK_ARTIFACTS = Table(
    "task_artifacts",
    METADATA,
    Column("task_id", ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("side", String(8), primary_key=True),
    Column("slot", String(256), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.id"), nullable=False, index=True),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("time", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("task_path", Text, nullable=False),
    Column("message", Message, nullable=False),
    Column("is_warning", Boolean, nullable=False, server_default=false()),
)

CACHE = Table(
    "cache",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("task_id", String(64), nullable=False, index=True),
    Column("created", Moment, nullable=False),
    Column("component", String(64), nullable=False, server_default=text("''")),
    Column("parts", JSON, nullable=False, server_default=text("'{}'")),
    Index("cache_by_component", "component", "created"),
)

LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_created", Float, nullable=False),
    Column("renewed", Float, nullable=False),
)


def open_database(url: str) -> Engine:
    """Connect."""
    if not url.startswith("sqlite"):
        engine = create_engine(url, **_JSON)
    else:
        # The connection that was used last comes first: the others have to read again what it has written.
        engine = create_engine(url, connect_args={"check_same_thread": False}, pool_use_lifo=True, **_JSON)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # pysqlite would begin transactions by itself, and only before some statements
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    _log_ahead(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _log_ahead(cursor: sqlite3.Cursor) -> None:
    """Have the database write ahead, which it keeps; of several that open a new one, SQLite lets none wait for this."""
    until = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads and then writes fails at once when another wrote in between: take the lock first.
    writes = connection.get_execution_options().get("writes", False)
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    try:  # not through SQLAlchemy, where it takes as long as an insert
        connection.connection.cursor().execute(begin)
    except sqlite3.OperationalError as error:
        raise OperationalError(begin, None, error) from error
