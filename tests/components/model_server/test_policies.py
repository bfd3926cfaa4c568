"""Version policies, transition policies and the source that reads folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from trainwright_components.model_server.manager.source import FileSystemSource, MonitoredModel, find_versions
from trainwright_components.model_server.manager.transition_policy import (
    Action,
    AvailabilityPreserving,
    ResourcePreserving,
    VersionPhase,
    VersionView,
)
from trainwright_components.model_server.manager.version_policy import All, Latest, Specific


def views(*versions: tuple[int, bool, VersionPhase]) -> list[VersionView]:
    return [VersionView(version=number, is_aspired=aspired, phase=phase) for number, aspired, phase in versions]


@pytest.mark.parametrize(
    ("versions", "action"),
    [
        ([(1, True, VersionPhase.NEW), (2, True, VersionPhase.NEW)], (Action.LOAD, 2)),
        ([(1, False, VersionPhase.READY), (2, True, VersionPhase.NEW)], (Action.LOAD, 2)),
        ([(1, False, VersionPhase.READY), (2, True, VersionPhase.LOADING)], None),
        ([(1, False, VersionPhase.READY), (2, True, VersionPhase.READY)], (Action.UNLOAD, 1)),
        ([(1, False, VersionPhase.READY), (2, True, VersionPhase.ENDED)], None),
        (
            [(1, False, VersionPhase.READY), (2, False, VersionPhase.READY), (3, True, VersionPhase.LOADING)],
            (Action.UNLOAD, 1),
        ),
        ([(1, False, VersionPhase.READY)], (Action.UNLOAD, 1)),
        ([], None),
    ],
)
def test_availability_preserving_keeps_one_version_answering(
    versions: list[tuple[int, bool, VersionPhase]], action: tuple[Action, int] | None
) -> None:
    assert AvailabilityPreserving().next_action(views(*versions)) == action


@pytest.mark.parametrize(
    ("versions", "action"),
    [
        ([(1, False, VersionPhase.READY), (2, True, VersionPhase.NEW)], (Action.UNLOAD, 1)),
        ([(1, False, VersionPhase.ENDING), (2, True, VersionPhase.NEW)], None),
        ([(1, False, VersionPhase.ENDED), (2, True, VersionPhase.NEW)], (Action.LOAD, 2)),
    ],
)
def test_resource_preserving_never_holds_two_versions(
    versions: list[tuple[int, bool, VersionPhase]], action: tuple[Action, int] | None
) -> None:
    assert ResourcePreserving().next_action(views(*versions)) == action


def test_version_policies_choose() -> None:
    assert Latest().choose([1, 10, 9]) == [10]
    assert Latest(2).choose([1, 10, 9]) == [10, 9]
    assert sorted(All().choose([3, 1])) == [1, 3]
    assert Specific(frozenset({1, 7})).choose([1, 2]) == [1]


def test_only_folders_named_by_numbers_are_versions(tmp_path: Path) -> None:
    numbers = {1: "1", 123: "00000123", -5: "-5", 8: " 8 "}
    for name in (*numbers.values(), "1.5", "abc", ".candidate-7", "1_0", "- 6", "99999999999999999999", "٣"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert find_versions(tmp_path) == {version: [tmp_path / name] for version, name in numbers.items()}


def test_of_two_folders_of_one_version_the_last_by_name_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("00000123", "123"):
        (tmp_path / name).mkdir()
    seen: list[Mapping[int, Path]] = []
    source = FileSystemSource(lambda _, versions: seen.append(versions), poll_wait_s=0)
    try:
        for _ in range(2):
            source.set_models((MonitoredModel(name="m", base_path=tmp_path),))
    finally:
        source.close()
    assert seen == [{123: tmp_path / "123"}] * 2
    assert caplog.text.count("version 123 is loaded from 123; 00000123 is the same version and ignored") == 1


def test_versions_asked_for_by_number_that_are_missing_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "1").mkdir()
    source = FileSystemSource(lambda _name, _versions: None, poll_wait_s=0)
    try:
        source.set_models((MonitoredModel(name="m", base_path=tmp_path, policy=Specific(frozenset({1, 7}))),))
    finally:
        source.close()
    assert "versions [7] are to be served and are not under" in caplog.text


def test_a_negative_wait_switches_polling_off(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    seen: list[str] = []
    source = FileSystemSource(lambda name, _: seen.append(name), poll_wait_s=-1)
    try:
        source.set_models((MonitoredModel(name="m", base_path=tmp_path),))
        assert not seen
    finally:
        source.close()


def test_the_source_follows_what_appears_and_vanishes(tmp_path: Path, eventually: Callable[..., None]) -> None:
    seen: dict[str, set[int]] = {}
    source = FileSystemSource(lambda name, versions: seen.__setitem__(name, set(versions)), poll_wait_s=0.01)
    try:
        (tmp_path / "1").mkdir()
        source.set_models((MonitoredModel(name="m", base_path=tmp_path),))
        assert seen == {"m": {1}}
        (tmp_path / "2").mkdir()
        eventually(lambda: seen == {"m": {2}})
        (tmp_path / "2").rmdir()
        eventually(lambda: seen == {"m": {1}})
        source.set_models(())
        assert seen == {"m": set()}
    finally:
        source.close()


def test_a_base_path_that_is_missing_unloads_nothing(tmp_path: Path) -> None:
    seen: list[str] = []
    source = FileSystemSource(lambda name, _: seen.append(name), poll_wait_s=0)
    try:
        source.set_models((MonitoredModel(name="m", base_path=tmp_path / "missing"),))
        assert not seen
    finally:
        source.close()


def test_a_base_path_without_versions_unloads_all(tmp_path: Path) -> None:
    seen: list[Mapping[int, Path]] = []
    source = FileSystemSource(lambda _, versions: seen.append(versions), poll_wait_s=0)
    try:
        source.set_models((MonitoredModel(name="m", base_path=tmp_path),))
    finally:
        source.close()
    assert seen == [{}]
