"""Whenever the engine is killed, the record tells no lie and the run can be resumed; a campaign tries all moments."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.campaigns.kills import Campaign, KillServer, Record
from tests.os_faults import KillMoment

MOMENTS = [
    ("commit", 2, True),
    ("commit", 9, False),
    ("commit", 16, True),
    ("commit", 23, False),
    ("commit", 30, True),
    ("commit", 37, True),
    ("commit", 44, False),
    ("commit", 51, True),
    ("commit", 58, False),
    ("commit", 65, True),
    ("commit", 72, False),
    ("commit", 79, True),
    ("rename", 1, False),
    ("rename", 3, True),
    ("rename", 5, False),
    ("rename", 7, True),
    ("unlink", 1, True),
    ("unlink", 12, False),
    ("unlink", 24, True),
    ("unlink", 36, False),
]


@pytest.fixture(scope="module")
def campaign(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    folder = tmp_path_factory.mktemp("killed")
    with KillServer(shares_parent=True, temporary=folder) as server:
        yield Campaign(server=server, spec=specs / "killed.yaml", folder=folder)


@pytest.fixture(scope="module")
def undisturbed(campaign: Campaign, specs: Path) -> Record:
    record, counts = campaign.prepare(specs / "remembered.yaml")
    assert all(counts[kind] >= number for kind, number, _ in MOMENTS), counts
    return record


@pytest.mark.parametrize(("kind", "number", "is_after"), MOMENTS)
def test_a_run_whose_engine_is_killed_tells_the_truth_and_can_be_resumed(
    campaign: Campaign, undisturbed: Record, kind: str, number: int, is_after: bool
) -> None:
    verdict = campaign.judge(KillMoment(kind=kind, number=number, is_after=is_after), undisturbed)
    assert verdict.struck
    assert verdict.wrong == ()
