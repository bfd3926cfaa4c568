"""Why something could not be written, in words that a person can act on: full disks, quotas, databases that refuse."""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from trainwright_components.errors import RunFailed

_FULL = "the disk is full"
_REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "no file may grow further (see `ulimit -f`)",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reports an error",
}
_PRIMARY_CODE = 0xFF  # SQLite's extended codes keep the primary one in the lowest byte: sqlite.org/rescode.html
_LEAST_BYTES = 64 << 10  # SQLite's files beside the database begin with 32 KiB


class Unwritable(RunFailed):
    """A disk or a database does not take what is to be recorded."""


def why_unwritable(error: BaseException, folder: Path) -> str:
    """What keeps from writing, and where; empty when `error` is about something else.

    `folder` is the place to name where the error names none.
    """
    for each in _causes(error):
        if isinstance(each, Unwritable):
            return str(each)
        is_terminal = isinstance(each, OSError) and each.errno == errno.EIO and each.filename is None
        if isinstance(each, OSError) and each.errno in _REASONS and not is_terminal:
            place = Path(each.filename).parent if isinstance(each.filename, str) else folder
            return f"{_REASONS[each.errno]}: nothing more can be written to {place}"
        if isinstance(each, sqlite3.OperationalError):
            return _why_sqlite(each, folder)
        if isinstance(each, OperationalError):
            return f"the database that records runs does not answer: {each.orig}"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, those of its group, and what raised each: a library's error after that of its own library."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    if isinstance(error, DBAPIError) and error.orig is not None:
        yield error.orig
    yield error
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)


def _why_sqlite(error: sqlite3.OperationalError, folder: Path) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_ERROR:
        return ""  # a statement that is wrong, not a disk
    if code == sqlite3.SQLITE_FULL or shutil.disk_usage(folder).free < _LEAST_BYTES:
        return f"{_FULL}: nothing more can be written to {folder}"
    return f"the record of runs in {folder} cannot be written: {error}"
