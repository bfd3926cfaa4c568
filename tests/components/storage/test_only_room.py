"""Only `storage` knows schemes and what reads them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import trainwright
import trainwright_components
import trainwright_pipelines

PACKAGES = [Path(package.__path__[0]) for package in (trainwright, trainwright_components, trainwright_pipelines)]
A_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)?:/{1,2}")
ADDRESSES_OF_SERVERS = re.compile(r"https?://|sqlite:/+|unix:/*|dns:/+")
ELSEWHERE = {"trainwright_pipelines/ir/placeholders.py"}  # KFP's own rule: under which folder a step finds a bucket


def _told(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Constant(value=str(text)) if A_SCHEME.fullmatch(text) and not ADDRESSES_OF_SERVERS.fullmatch(text):
                yield text
            case ast.Attribute(attr="gfile"):
                yield "gfile"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_no_other_room_compares_schemes_or_reads_with_gfile(package: Path) -> None:
    found = {file.relative_to(package.parent).as_posix(): sorted(_told(file)) for file in package.rglob("*.py")}
    told = {name: texts for name, texts in found.items() if texts}
    rooms = {name for name in told if name.startswith("trainwright_components/storage/")}
    assert bool(rooms) == (package.name == "trainwright_components")
    assert told.keys() - rooms <= ELSEWHERE, told
