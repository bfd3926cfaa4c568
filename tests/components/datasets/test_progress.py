"""Long work says how far it is, short work says nothing."""

import logging

import pytest

from trainwright_components.datasets import progress


def test_short_work_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = progress.ProgressLog(logging.getLogger("rows"), "prepared", total=100)
    log.add(100)
    assert not caplog.messages


def test_long_work_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    for total in (90_000, None):
        progress.ProgressLog(logging.getLogger("rows"), "prepared", total=total).add(12_000)
    assert caplog.messages == ["prepared 12,000 of 90,000 rows (13 %)", "prepared 12,000 rows"]
