"""A remote path goes wherever a path goes."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from tests.components.storage import servers

from trainwright_components.datasets.profile import profile_chunks
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.errors import InvalidSetting
from trainwright_components.storage.addresses import normalize
from trainwright_components.storage.locations import list_folder, storage_of


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame({"a": [1.5, 2.5, 4.0], "b": ["x", "y", "x"]})


@pytest.fixture(scope="module", params=["gs", "s3", "ram"])
def remote(
    request: pytest.FixtureRequest, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    local = tmp_path_factory.mktemp("remote")
    table.to_csv(local / "rows.csv", index=False)
    table.to_csv(local / "rows.csv.gz", index=False)
    table.to_parquet(local / "rows.parquet")
    table.to_json(local / "rows.jsonl", orient="records", lines=True)
    with pytest.MonkeyPatch.context() as patch, servers.serving(request.param, patch) as bucket:
        for path in local.iterdir():
            storage_of(bucket).write(f"{bucket}/{path.name}", path, replace=True)
        yield bucket


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet", "rows.jsonl", "rows.csv*"])
def test_remote_tables_are_read_like_local_ones(remote: str, name: str) -> None:
    profile = profile_chunks(open_source(f"{remote}/{name}").chunks())
    times = 2 if name.endswith("*") else 1
    assert (profile.rows, profile.columns["a"].max) == (3 * times, 4.0)
    assert profile.columns["b"].values == {"x": 2 * times, "y": times}


def test_remote_folders_are_listed(remote: str) -> None:
    assert list_folder(remote) == [f"{remote}/rows.{suffix}" for suffix in ("csv", "csv.gz", "jsonl", "parquet")]


def test_a_missing_remote_file_is_named(remote: str) -> None:
    with pytest.raises(InvalidSetting, match=r"there is no file or folder '.*://bucket-\d+/other\.csv'"):
        open_source(f"{remote}/other.csv")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"cannot read 'nowhere://bucket/rows\.csv'.*nowhere"):
        open_source("nowhere://bucket/rows.csv")


def test_file_urls_are_paths(tmp_path: Path) -> None:
    assert normalize(f"file://{tmp_path}") == str(tmp_path)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("a\n1\n")
    with pytest.raises(
        InvalidSetting, match=r"there is no file or folder '.*custmers\.csv'; did you mean '.*customers"
    ):
        open_source(str(tmp_path / "custmers.csv"))


def test_a_misspelt_bundled_set_is_corrected() -> None:
    with pytest.raises(
        InvalidSetting, match="source 'digit' is neither a file nor a bundled set; did you mean 'digits'"
    ):
        open_source("digit")


def test_a_prepared_dataset_is_no_source(tabular_dataset: Path) -> None:
    with pytest.raises(InvalidSetting, match="is a prepared dataset already"):
        open_source(str(tabular_dataset))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.xlsx", r"the format of '.*rows\.xlsx' is not known from its name; say data\.format: csv, jsonl"),
        ("cat.png", r"is one image; give the folder that holds a folder per class"),
    ],
)
def test_an_unknown_format_says_what_there_is(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(InvalidSetting, match=message):
        open_source(str(tmp_path / name))


def test_files_of_two_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InvalidSetting, match=r"of different formats; say data\.format"):
        open_source(str(tmp_path))


def test_a_format_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "rows.dat").write_text("a;b\n1;2\n")
    chunks = list(open_source(str(tmp_path / "rows.dat"), format_name="csv").chunks())
    assert {name: column.tolist() for name, column in chunks[0].columns.items()} == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"a,b\n1,x\n", lambda b: b[:-8] + bytes(8)])
def test_a_packed_file_that_is_damaged_is_named(
    damage: Callable[[bytes], bytes], suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"rows.csv.{suffix}"
    path.write_bytes(damage(pack(b"a,b\n" + b"1,x\n" * 1_000)))
    with pytest.raises(InvalidSetting, match=rf"cannot unpack '.*rows\.csv\.{suffix}': .*; pack it again"):
        profile_chunks(open_source(str(path)).chunks())
