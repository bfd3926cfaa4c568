"""Whenever the engine is killed, the record tells no lie and the run can be resumed; a campaign tries all moments."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.campaigns.kills import Campaign, KillServer, Record
from tests.os_faults import KillMoment

COMMITS, RENAMES, UNLINKS = 12, 4, 4
HEARTBEATS = 5  # commits that a quicker run makes fewer
MOMENTS = [  # of 20 equal parts of a run's calls of a kind, the one in which it is killed
    *(("commit", part, part % 3 > 0) for part in range(1, 20, 2)),
    *(("commit", part, False) for part in (6, 12)),
    *(("rename", part, part % 2 > 0) for part in (1, 6, 11, 16)),
    *(("unlink", part, part % 2 > 0) for part in (4, 9, 14, 19)),
]


@pytest.fixture(scope="module")
def campaign(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    folder = tmp_path_factory.mktemp("killed")
    with KillServer(shares_parent=True, temporary=folder) as server:
        yield Campaign(server=server, spec=specs / "killed.yaml", folder=folder)


@pytest.fixture(scope="module")
def undisturbed(campaign: Campaign, specs: Path) -> tuple[Record, Counter[str]]:
    return campaign.prepare(specs / "remembered.yaml")


@pytest.mark.parametrize(("kind", "part", "is_after"), MOMENTS)
def test_a_run_whose_engine_is_killed_tells_the_truth_and_can_be_resumed(
    campaign: Campaign, undisturbed: tuple[Record, Counter[str]], kind: str, part: int, is_after: bool
) -> None:
    record, counts = undisturbed
    count = counts[kind] - (HEARTBEATS if kind == "commit" else 0)
    moment = KillMoment(kind=kind, number=max(1, round(count * part / 20)), is_after=is_after)
    verdict = campaign.judge(moment, record)
    assert verdict.struck
    assert verdict.wrong == ()
