"""A clock that is set while processes live."""

import psutil
import pytest


def set_clock(monkeypatch: pytest.MonkeyPatch, *, by_s: float) -> None:
    """Move the time of the boot, which Linux tells by the clock as it is, and with it when processes were created."""
    before, boot = psutil.Process().create_time(), psutil._pslinux.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot + by_s)
    assert psutil.Process().create_time() == before + by_s
