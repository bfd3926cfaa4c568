"""Why something could not be written, in words that a person can act on: full disks, quotas, databases that refuse.

A database that is damaged cannot be read either.
"""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from trainwright_components.errors import RunFailed
from trainwright_components.files import STORE_NAME

_FULL = "the disk is full"
_REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "no file may grow further (see `ulimit -f`)",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "too many files are open (see `ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
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
        if isinstance(each, OSError) and isinstance(each.filename, str) and Path(each.filename).is_relative_to(folder):
            return f"{each.filename} cannot be used: {each.strerror}"  # somebody cleared up, or changed whose it is
        if isinstance(each, sqlite3.DatabaseError) and _code(each) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return damaged(folder, str(each))
        if isinstance(each, sqlite3.OperationalError):
            return _why_sqlite(each, folder)
        if isinstance(each, OperationalError):
            return f"the database that records runs does not answer: {each.orig}"
    return ""


def damaged(folder: Path, reason: str) -> str:
    """What to do about a store that no release has written so."""
    return (
        f"the record of runs, {folder / STORE_NAME}, is damaged: {reason}. Put a copy of it back, or move it away to "
        "begin a new one; files of runs and models stay as they are"
    )


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
    code = _code(error)
    if code == sqlite3.SQLITE_ERROR:
        return ""  # a statement that is wrong, not a disk
    if code == sqlite3.SQLITE_FULL or shutil.disk_usage(folder).free < _LEAST_BYTES:
        return f"{_FULL}: nothing more can be written to {folder}"
    return f"the record of runs in {folder} cannot be written: {error}"


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY_CODE
