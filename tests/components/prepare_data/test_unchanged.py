"""A source that is written to between the two passes over it is refused, and nothing of it is left."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

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
def between_the_passes(
    action: Callable[[], object], *, told_by: str = "datasets.infer", text: str = "has no value in any row"
) -> Iterator[None]:
    """Do something when the first pass has told of `text`, of the column without values when it is not said."""

    class Writer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert text in record.getMessage()
            action()

    logger, handler = logging.getLogger(f"trainwright_components.{told_by}"), Writer()
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


@pytest.mark.parametrize("change", ["was changed", "was removed"])
@pytest.mark.parametrize("folder", ["", "second"])
def test_an_image_that_is_written_or_removed_meanwhile_is_told(tmp_path: Path, change: str, folder: str) -> None:
    for number in range(40):
        path = tmp_path / "images" / "ab"[number % 2] / folder / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 8, 0, 99)).save(path)

    def write() -> None:
        path.unlink()
        if change == "was changed":
            Image.new("RGB", (8, 8), (99, number, 0)).save(path)

    told = between_the_passes(write, told_by="prepare_data.prepare", text="More than half repeat")
    with told, pytest.raises(InvalidData, match=rf"39\.png {change} while it was read"):
        prepare_data(tmp_path / "images", tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_other_counts_are_told_where_a_storage_tells_no_change() -> None:
    with pytest.raises(InvalidData, match="rows changed while it was read: it had 1,000 rows, then 999"):
        UnchangedFiles([]).check_count(999, first=1000, name="rows")
