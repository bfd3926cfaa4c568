"""All storages do the same: on disk, in Google Cloud Storage, in S3, and where TensorFlow has a file system."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.components.storage import servers

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.storage.addresses import child_name, join, scheme_of
from trainwright_components.storage.google_cloud import GoogleCloudStorage
from trainwright_components.storage.local import LocalStorage
from trainwright_components.storage.locations import (
    STORAGES,
    exists,
    expand,
    find,
    is_folder,
    list_entries,
    local_copy,
    open_binary,
    publish,
    read_bytes,
    size_bytes,
    storage_of,
)
from trainwright_components.storage.protocol import Entry, RangeReader
from trainwright_components.storage.s3 import S3Storage
from trainwright_components.storage.tensorflow_files import TensorFlowStorage

PARTS = bytes(range(256)) * 40_000  # more than is read at once


@pytest.fixture(scope="module", params=["disk", "gs", "s3", "ram"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path_factory.mktemp("disk"))
        return
    with pytest.MonkeyPatch.context() as patch, servers.serving(request.param, patch) as bucket:
        yield bucket


@pytest.fixture
def place(root: str, request: pytest.FixtureRequest) -> str:
    return join(root, request.node.name.partition("[")[0])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"first")
    return path


def write(location: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "written"
    path.write_bytes(content)
    assert storage_of(location).write(location, path, replace=True)


def _mark(location: str) -> str:
    entry = find(location)
    assert entry is not None
    return entry.content_mark


def test_each_scheme_has_one_storage() -> None:
    schemes = [scheme for storage in STORAGES for scheme in storage.schemes]
    assert sorted(schemes) == ["", "gs", "ram", "s3"]
    for location, kind in (
        ("data/a.csv", LocalStorage),
        ("gs://b/a", GoogleCloudStorage),
        ("s3://b/a", S3Storage),
        ("hdfs://host/a", TensorFlowStorage),
    ):
        assert type(storage_of(location)) is kind


class TestStorage:
    def test_what_is_written_is_read(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/folder/file", PARTS, tmp_path)
        assert size_bytes(f"{place}/folder/file") == len(PARTS)
        assert read_bytes(f"{place}/folder/file") == PARTS
        assert (exists(f"{place}/folder/file"), is_folder(f"{place}/folder/file")) == (True, False)
        assert (exists(f"{place}/folder"), is_folder(f"{place}/folder")) == (True, True)

    def test_a_file_is_read_from_any_position(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/file", PARTS, tmp_path)
        with open_binary(f"{place}/file") as file:
            assert file.seek(len(PARTS) - 3) == len(PARTS) - 3
            assert file.read(10) == PARTS[-3:]
            assert file.read(1) == b""
            file.seek(300)
            assert file.read(5) == PARTS[300:305]
            assert file.tell() == 305
            assert file.read() == PARTS[305:]
            file.seek(-2, 2)
            assert file.read() == PARTS[-2:]

    def test_an_empty_file_is_one(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/empty", b"", tmp_path)
        assert (exists(f"{place}/empty"), size_bytes(f"{place}/empty"), read_bytes(f"{place}/empty")) == (True, 0, b"")

    def test_a_folder_lists_what_is_directly_in_it(self, place: str, tmp_path: Path) -> None:
        for name in ("b.csv", "a.csv", "deep/c.csv", "deep/er/d.csv", "with space+%.csv", "größe.csv"):
            write(f"{place}/{name}", name.encode(), tmp_path)
        assert list_entries(place) == [
            Entry(name="a.csv", size_bytes=5),
            Entry(name="b.csv", size_bytes=5),
            Entry(name="deep", is_folder=True),
            Entry(name="größe.csv", size_bytes=11),
            Entry(name="with space+%.csv", size_bytes=16),
        ]
        assert list_entries(f"{place}/deep/") == [
            Entry(name="c.csv", size_bytes=10),
            Entry(name="er", is_folder=True),
        ]
        assert read_bytes(f"{place}/with space+%.csv") == b"with space+%.csv"

    @pytest.mark.parametrize("name", ["a#b", "a?b", "a%2Fb", "a;b&c=d", "a[1]", "*", "'\""])
    def test_a_name_is_taken_as_it_is(self, name: str, place: str, tmp_path: Path) -> None:
        write(f"{place}/folder/{name}", name.encode(), tmp_path)
        assert read_bytes(f"{place}/folder/{name}") == name.encode()
        assert Entry(name=name, size_bytes=len(name)) in list_entries(f"{place}/folder")
        assert expand(f"{place}/folder/{name}") == [f"{place}/folder/{name}"]

    def test_a_file_is_no_folder_and_a_folder_no_file(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/folder/file", b"x", tmp_path)
        with pytest.raises(InvalidSetting):
            list_entries(f"{place}/folder/file")
        with pytest.raises(InvalidSetting):
            read_bytes(f"{place}/folder")
        assert not exists(f"{place}/folder/file/below")

    def test_a_pattern_matches_within_its_part(self, place: str, tmp_path: Path) -> None:
        for name in ("x/one.csv", "x/two.csv", "y/one.csv", "y/.hidden.csv", "y/deep/one.csv"):
            write(f"{place}/{name}", b"", tmp_path)
        assert expand(f"{place}/x/*.csv") == [f"{place}/x/one.csv", f"{place}/x/two.csv"]
        assert expand(f"{place}/*/[o]ne.csv") == [f"{place}/x/one.csv", f"{place}/y/one.csv"]
        assert expand(f"{place}/y/*.csv") == [f"{place}/y/one.csv"]
        with pytest.raises(InvalidSetting, match=r"no file matches '.*\*\.json'"):
            expand(f"{place}/x/*.json")

    def test_what_is_not_there_is_named(self, place: str) -> None:
        assert not exists(f"{place}/nothing")
        assert not is_folder(f"{place}/nothing")
        for read in (read_bytes, list_entries, size_bytes):
            with pytest.raises(InvalidSetting, match=f"there is no file '{place}/nothing"):
                read(f"{place}/nothing")
        with pytest.raises(InvalidSetting, match="there is no file"), open_binary(f"{place}/nothing"):
            pass

    def test_a_file_is_not_replaced_unasked(self, place: str, source: Path) -> None:
        storage = storage_of(place)
        assert storage.write(f"{place}/file", source, replace=False)
        first = _mark(f"{place}/file")
        source.write_bytes(b"second")
        assert not storage.write(f"{place}/file", source, replace=False)
        assert read_bytes(f"{place}/file") == b"first"
        assert _mark(f"{place}/file") == first
        assert storage.write(f"{place}/file", source, replace=True)
        if scheme_of(place) != "ram":  # which keeps no time
            assert _mark(f"{place}/file") != first
        assert read_bytes(f"{place}/file") == b"second"

    def test_writers_at_the_same_time_leave_the_file_of_one(self, place: str, tmp_path: Path) -> None:
        contents = [bytes([number]) * 3_000_000 for number in range(4)]
        sources = [tmp_path / str(number) for number in range(4)]
        for path, content in zip(sources, contents, strict=True):
            path.write_bytes(content)
        storage = storage_of(place)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                writers = [pool.submit(storage.write, f"{place}/file", path, replace=True) for path in sources]
                assert all(writer.result() for writer in writers)
                assert read_bytes(f"{place}/file") in contents
        assert list_entries(place) == [Entry(name="file", size_bytes=3_000_000)]

    def test_removing_twice_is_no_error(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/file", b"x", tmp_path)
        for _ in range(2):
            storage_of(place).remove(f"{place}/file")
            assert not exists(f"{place}/file")

    def test_a_copy_is_there_while_it_is_needed(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/model/file", b"1", tmp_path)
        write(f"{place}/model/deep/file", b"2", tmp_path)
        with local_copy(f"{place}/model") as folder:
            assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("file")} == {
                "file": b"1",
                "deep/file": b"2",
            }
            assert folder.name == "model"
        assert folder.exists() == (scheme_of(place) == "")

    def test_a_published_folder_replaces_the_one_before(self, place: str, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        (folder / "deep").mkdir(parents=True)
        for name in ("saved_model.pb", "deep/a", "b"):
            (folder / name).write_text(name)
        publish(folder, place, marker="saved_model.pb")
        (folder / "b").unlink()
        (folder / "saved_model.pb").write_text("next")
        publish(folder, place, marker="saved_model.pb")
        assert [entry.name for entry in list_entries(place)] == ["deep", "saved_model.pb"]
        assert (read_bytes(f"{place}/saved_model.pb"), read_bytes(f"{place}/deep/a")) == (b"next", b"deep/a")

    def test_the_marker_comes_last_and_goes_first(
        self, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        for name in ("a", "marker", "z"):
            (folder / name).write_text(name)
        publish(folder, place, marker="marker")
        kind, write = type(storage_of(place)), type(storage_of(place)).write

        def cut_off(storage: object, location: str, source: Path, *, replace: bool) -> bool:
            if source.name == "z":
                raise OSError("no space left")
            return write(storage, location, source, replace=replace)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "write", cut_off)
        with pytest.raises(OSError, match="no space left"):
            publish(folder, place, marker="marker")
        if scheme_of(place):
            assert not exists(f"{place}/marker")  # nobody takes it for whole
        else:
            assert [entry.name for entry in list_entries(place)] == ["a", "marker", "z"]  # the one before
        with pytest.raises(InvalidSetting, match="has no other, by which readers know"):
            publish(folder, place, marker="other")

    def test_a_file_that_is_replaced_while_it_is_read_is_no_mixture(self, place: str, tmp_path: Path) -> None:
        write(f"{place}/file", PARTS, tmp_path)
        other = PARTS[::-1]
        with open_binary(f"{place}/file") as file:
            content = file.read(10)
            write(f"{place}/file", other, tmp_path)
            if scheme_of(place) in ("gs", "s3"):
                with pytest.raises(OSError, match="it was replaced while it was read"):
                    file.read()
            else:
                assert content + file.read() in (PARTS, PARTS[:10] + other[10:])


@pytest.mark.parametrize("scheme", ["gs", "s3"])
class TestBuckets:
    """What only buckets can have, since their folders are beginnings of names."""

    @pytest.fixture
    def bucket(self, scheme: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        with servers.serving(scheme, monkeypatch) as bucket:
            yield bucket

    def test_a_file_and_a_folder_of_one_name(self, bucket: str, tmp_path: Path) -> None:
        for name in ("data/both", "data/both/x"):
            write(f"{bucket}/{name}", name.encode(), tmp_path)
        assert [(entry.name, entry.is_folder) for entry in list_entries(f"{bucket}/data")] == [
            ("both", False),
            ("both", True),
        ]
        assert expand(f"{bucket}/data/*/x") == [f"{bucket}/data/both/x"]
        with (
            pytest.raises(InvalidSetting, match="/data' has a file and a folder called 'both'; rename one of them"),
            local_copy(f"{bucket}/data"),
        ):
            pass

    def test_a_published_folder_takes_the_place_of_a_file_and_of_all_below_one(
        self, bucket: str, tmp_path: Path
    ) -> None:
        for name in ("model", "model/marker", "model/old", "model/old/older"):
            write(f"{bucket}/{name}", b"before", tmp_path)
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "marker").write_text("now")
        publish(folder, f"{bucket}/model", marker="marker")
        assert is_folder(f"{bucket}/model")
        assert list_entries(f"{bucket}/model") == [Entry(name="marker", size_bytes=3)]

    def test_an_object_that_no_address_names_is_not_passed_over(self, bucket: str, tmp_path: Path) -> None:
        write(f"{bucket}/data//x", b"x", tmp_path)
        with pytest.raises(InvalidSetting, match="what is called 'data//' there cannot be read by its name"):
            list_entries(f"{bucket}/data")

    def test_what_is_no_bucket_or_no_file_is_refused(self, bucket: str, scheme: str, source: Path) -> None:
        for location in (f"{scheme}://", f"{scheme}://No_Bucket!!/x"):
            with pytest.raises(InvalidSetting, match=r"(?s)cannot read .*[Nn]ot the name of a bucket|Invalid bucket"):
                exists(location)
        with pytest.raises(IsADirectoryError, match=f"{bucket} is a bucket, not a file"):
            storage_of(bucket).write(bucket, source, replace=True)


@pytest.mark.parametrize("key", ["d/./", "d/../", "d/..", "d//", "d/"])
def test_a_name_that_leads_elsewhere_is_none(key: str) -> None:
    assert child_name("d/..x/", "d/") == "..x"
    with pytest.raises(OSError, match="cannot be read by its name; rename or remove it"):
        child_name(key, "d/")


class _Short(RangeReader):
    size = 100

    def read_range(self, start: int, end: int) -> bytes:
        return b"x" * ((end - start) // 2)


def test_fewer_bytes_than_were_asked_for_are_no_end_of_a_file() -> None:
    readers: list[Callable[[], object]] = [_Short().readall, _Short().read, io.BufferedReader(_Short(), 64).read]
    for read in readers:
        with pytest.raises(OSError, match=r"the storage gave [0-9]+ bytes of the [0-9]+ from byte 0 on"):
            read()


@pytest.mark.parametrize(
    ("location", "status", "error"),
    [
        ("s3://bucket/x", 503, TargetUnavailable),
        ("s3://bucket/x", 403, OSError),
        ("s3://bucket/x", 412, OSError),
        ("gs://bucket/x", 412, OSError),
    ],
)
def test_an_upload_that_is_refused_is_no_success(
    location: str, status: int, error: type[Exception], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.refusing_writes(monkeypatch, status=status), pytest.raises(error):
        storage_of(location).write(location, source, replace=True)


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_bucket_that_is_not_there_holds_nothing(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(scheme, monkeypatch):
        assert not exists(f"{scheme}://absent-bucket/x")
        with pytest.raises(InvalidSetting, match="there is no file"):
            list_entries(f"{scheme}://absent-bucket/x")


def test_a_storage_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainwright_components.storage.copies._made", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TargetUnavailable, match=r"cannot reach s3://bucket/x: .*127\.0\.0\.1:1"):
        read_bytes("s3://bucket/x")


def test_s3_without_credentials_says_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainwright_components.storage.copies._made", {})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(TargetUnavailable, match="there are no AWS credentials: run `aws configure`"):
        read_bytes("s3://bucket/x")
