"""A source that is written to between the two passes over it is refused, and nothing of it is left."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainwright_components.errors import InvalidData
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.unchanged import UnchangedFiles

TABLE = pd.DataFrame({"x": np.arange(40.0), "empty": [None] * 40, "c": ["u", "v"] * 20, "y": ["a", "b"] * 20})
WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "csv": lambda table, file: table.to_csv(file, index=False),
    "jsonl": lambda table, file: table.to_json(file, orient="records", lines=True),
    "parquet": lambda table, file: table.to_parquet(file),
}
CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "rows with new categories": lambda table: pd.concat([table, table.assign(c="new", y="c")]),
    "rows that look like the others": lambda table: pd.concat([table, table]),
    "fewer rows": lambda table: table.head(30),
    "another value": lambda table: table.assign(x=table["x"] + 50),
    "damage": lambda table: table.drop(columns="c"),
}


@contextmanager
def between_the_passes(action: Callable[[], object]) -> Iterator[None]:
    """Do something when the first pass has told of the column without values."""

    class Writer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert "has no value in any row" in record.getMessage()
            action()

    logger, handler = logging.getLogger("trainwright_components.datasets.infer"), Writer()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_written_meanwhile_is_told(tmp_path: Path, suffix: str, change: str) -> None:
    file, write = tmp_path / f"rows.{suffix}", WRITERS[suffix]
    write(TABLE, file)
    with (
        between_the_passes(lambda: write(CHANGES[change](TABLE), file)),
        pytest.raises(InvalidData, match=rf"rows\.{suffix} was changed while it was read: it had [\d,]+ bytes, now"),
    ):
        prepare_data(file, tmp_path / "dataset", {"label": "y"})
    assert not (tmp_path / "dataset").exists()


def test_rows_that_are_appended_are_told_of_though_no_time_says_so(tmp_path: Path) -> None:
    def append() -> None:
        with file.open("a") as opened:
            opened.write("1,,new,c\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    file = tmp_path / "rows.csv"
    TABLE.to_csv(file, index=False)
    before = file.stat()
    with between_the_passes(append), pytest.raises(InvalidData, match="once nothing writes to it, or prepare a copy"):
        prepare_data(file, tmp_path / "dataset", {"label": "y"})


def test_a_file_that_is_removed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    TABLE.to_csv(file, index=False)
    with between_the_passes(file.unlink), pytest.raises(InvalidData, match=r"rows\.csv was removed while it was read"):
        prepare_data(file, tmp_path / "dataset", {"label": "y"})


def test_other_counts_are_told_where_a_storage_tells_no_change() -> None:
    with pytest.raises(InvalidData, match="rows changed while it was read: it had 1,000 rows, then 999"):
        UnchangedFiles([]).check_count(999, first=1000, name="rows")
