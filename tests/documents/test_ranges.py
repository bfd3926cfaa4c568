"""The ranges of pyproject.toml hold what constraints.txt pins, and end where nothing was proved yet."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = {canonicalize_name(each.name): each for each in map(Requirement, PROJECT["dependencies"])}
PINS = {
    canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}


@pytest.mark.parametrize("name", sorted(REQUIREMENTS))
def test_every_dependency_is_pinned_within_its_range(name: str) -> None:
    assert PINS[canonicalize_name(name)] in REQUIREMENTS[canonicalize_name(name)].specifier


@pytest.mark.parametrize("name", ["keras", "tensorflow", "tf-keras"])
def test_what_training_takes_apart_ends_with_the_release_that_was_proved(name: str) -> None:
    proved = Version(PINS[canonicalize_name(name)])
    assert f"{proved.major}.{proved.minor + 1}.0" not in REQUIREMENTS[canonicalize_name(name)].specifier
