"""Whenever the engine is killed, the record tells no lie and the run can be resumed; a campaign tries all moments."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.campaigns.kills import Campaign, KillServer, Record
from tests.os_faults import KillMoment

COMMITS, RENAMES, UNLINKS = 12, 4, 4
MOMENTS = [
    (kind, (place + 0.5) / count, place % 2 == 0)
    for kind, count in (("commit", COMMITS), ("rename", RENAMES), ("unlink", UNLINKS))
    for place in range(count)
]
"""Kinds, shares of all the moments of a run, and whether it is killed after rather than before."""


@pytest.fixture(scope="module")
def campaign(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    folder = tmp_path_factory.mktemp("killed")
    with KillServer(shares_parent=True, temporary=folder) as server:
        yield Campaign(server=server, spec=specs / "killed.yaml", folder=folder)


@pytest.fixture(scope="module")
def undisturbed(campaign: Campaign, specs: Path) -> tuple[Record, Mapping[str, int]]:
    record, counts = campaign.prepare(specs / "remembered.yaml")
    assert counts["commit"] > COMMITS
    assert counts["rename"] >= RENAMES
    assert counts["unlink"] > UNLINKS
    return record, counts


@pytest.mark.parametrize(("kind", "share", "is_after"), MOMENTS)
def test_a_run_whose_engine_is_killed_tells_the_truth_and_can_be_resumed(
    campaign: Campaign, undisturbed: tuple[Record, Mapping[str, int]], kind: str, share: float, is_after: bool
) -> None:
    record, counts = undisturbed
    moment = KillMoment(kind=kind, number=1 + int(share * counts[kind]), is_after=is_after)
    verdict = campaign.judge(moment, record)
    assert verdict.struck
    assert verdict.wrong == ()
