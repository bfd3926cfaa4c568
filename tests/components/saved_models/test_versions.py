"""Version folders: whole or absent, numbered upwards, withdrawn out of sight."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainwright_components.deploy_serving.history import HistoryEntry, append_history, now_text, read_history
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import content_digest
from trainwright_components.saved_models.history import last_published
from trainwright_components.saved_models.versions import (
    list_versions,
    live_version,
    publish,
    remove_leftovers,
    staged_copy,
    version_folder,
    withdraw,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a SavedModel."""
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "variables.index").write_bytes(b"index")
    return tmp_path / "model"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An empty model base path."""
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def test_an_empty_folder_is_not_live_unless_there_is_no_other(model: Path, base: Path) -> None:
    assert live_version(base) is None
    (base / "7").mkdir()
    assert live_version(base) == 7
    model.rename(base / "3")
    assert (live_version(base), list_versions(base)) == (3, [3, 7])


def test_a_staged_copy_is_invisible_until_it_is_published(model: Path, base: Path) -> None:
    with staged_copy(model, base, 3) as stage:
        assert list_versions(base) == []
        assert list_versions(stage) == [3]
        publish(stage, base, 3)
        assert list_versions(base) == [3]
    assert content_digest(base / "3") == content_digest(model)
    assert [child.name for child in base.iterdir()] == ["3"]


def test_a_staged_copy_that_is_not_published_vanishes(model: Path, base: Path) -> None:
    with staged_copy(model, base, 1):
        pass
    assert list(base.iterdir()) == []


def test_a_version_is_never_overwritten(model: Path, base: Path) -> None:
    for attempt in range(2):
        with staged_copy(model, base, 1) as stage:
            if attempt:
                with pytest.raises(InvalidSetting, match="cannot publish version 1"):
                    publish(stage, base, 1)
            else:
                publish(stage, base, 1)


def test_one_of_many_publishers_gets_the_number(model: Path, base: Path) -> None:
    def try_to_publish(_: int) -> bool:
        with staged_copy(model, base, 1) as stage:
            try:
                publish(stage, base, 1)
            except InvalidSetting:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_publish, range(8))) == 1


def test_versions_are_numbers_whatever_zeros_they_begin_with(base: Path) -> None:
    for name in ("2", "0010", "x", ".candidate-1"):
        (base / name).mkdir()
    assert list_versions(base) == [2, 10]
    assert version_folder(base, 10) == base / "0010"


def test_a_withdrawn_version_is_gone(model: Path, base: Path) -> None:
    with staged_copy(model, base, 1) as stage:
        publish(stage, base, 1)
    withdraw(base, 1)
    assert list(base.iterdir()) == []


def test_leftovers_of_a_killed_publisher_are_removed(base: Path) -> None:
    for name in (".candidate-abc", ".withdrawn-1-abc", "1"):
        (base / name).mkdir()
    remove_leftovers(base)
    assert [child.name for child in base.iterdir()] == ["1"]


def test_a_model_that_cannot_be_copied_is_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot copy"), staged_copy(tmp_path / "missing", base, 1):
        pass
    assert list(base.iterdir()) == []


def test_history_grows_and_survives_fields_of_later_versions(base: Path) -> None:
    assert read_history(base) == []
    entry = HistoryEntry(version=1, event="published", time=now_text(), content_digest="abc")
    append_history(base, entry)
    (base / ".deployments.json").write_text(
        (base / ".deployments.json").read_text().replace('"version": 1', '"version": 1, "later": 2')
    )
    assert read_history(base) == [entry]


COMPLETE = {"version": 1, "event": "published", "time": "2026-01-01T00:00:00+00:00", "content_digest": "abc"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"[{", "Expecting property name"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe[]", "can't decode byte 0xff"),
        (b"null", "it is not a list of entries"),
        (b"{}", "it is not a list of entries"),
        (b"[1]", "not an entry with a version and an event: 1"),
        (b"[{}]", "not an entry with a version and an event"),
        (json.dumps([COMPLETE | {"version": "1"}]).encode(), "not an entry with a version"),
        (json.dumps([COMPLETE | {"version": True}]).encode(), "not an entry with a version"),
        (json.dumps([{"version": 1, "event": "published"}]).encode(), "version 1 lacks time, content_digest"),
        (json.dumps([COMPLETE | {"run": None}]).encode(), "run of version 1 is None, which is not str"),
        (json.dumps([COMPLETE | {"golden_requests": "3"}]).encode(), "golden_requests of version 1 is '3'"),
    ],
)
def test_a_damaged_history_is_refused_and_kept(base: Path, content: bytes, why: str) -> None:
    file = base / ".deployments.json"
    file.write_bytes(content)
    entry = HistoryEntry(version=1, event="published", time=now_text(), content_digest="abc")
    with pytest.raises(
        InvalidData, match=rf"{re.escape(str(file))}, the history .*{why}.*; restore it from a copy, or"
    ):
        append_history(base, entry)
    assert file.read_bytes() == content


def test_whole_numbers_are_differences_too(base: Path) -> None:
    (base / ".deployments.json").write_text(json.dumps([COMPLETE | {"largest_difference": 0}]))
    [entry] = read_history(base)
    assert entry.largest_difference == 0


@pytest.mark.parametrize("text", ["{}", "null", "[1]", '[{"version": "1", "event": "published"}]', '[{"version": 1}]'])
def test_what_is_not_a_history_names_no_champion(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a list of entries|not an entry"):
        last_published(text)
