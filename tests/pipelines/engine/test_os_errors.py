"""Whatever call of a run fails, it ends, says why, and leaves nothing half-written; a campaign tries all calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.campaigns.os_errors import CommandServer, judge
from tests.os_faults import Moment

MOMENTS = [
    ("mkdir", "ENOSPC", 3),
    ("mkdir", "EMFILE", 1),
    ("mkdir", "ENOENT", 12),
    ("mkdir", "EROFS", 20),
    ("open", "EMFILE", 1),
    ("open", "ENOSPC", 7),
    ("open", "ENOENT", 13),
    ("open", "EROFS", 16),
    ("open", "EMFILE", 26),
    ("write", "ENOSPC", 1),
    ("write", "EROFS", 5),
    ("write", "ENOENT", 9),
    ("rename", "EMFILE", 1),
    ("rename", "ENOSPC", 2),
    ("rename", "ENOENT", 4),
    ("sqlite", "ENOSPC", 3),
    ("sqlite", "EMFILE", 40),
    ("sqlite", "ENOSPC", 110),
    ("sqlite", "EROFS", 170),
    ("sqlite", "ENOENT", 240),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    with CommandServer(shares_parent=True, temporary=tmp_path_factory.mktemp("temporary")) as server:
        yield server


@pytest.mark.parametrize(("kind", "errno_name", "number"), MOMENTS)
def test_a_run_ends_whichever_call_fails_and_is_whole_afterwards(
    server: CommandServer, specs: Path, tmp_path: Path, kind: str, errno_name: str, number: int
) -> None:
    moment = Moment(kind=kind, errno_name=errno_name, number=number)
    verdict = judge(server, specs / "handed_on.yaml", tmp_path / "home", moment, is_brief=True)
    assert verdict.wrong == (), verdict.struck
    assert verdict.struck, "the run makes fewer calls of this kind"
