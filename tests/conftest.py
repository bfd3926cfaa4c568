"""What all tests share: how pytest goes about them."""

import gc

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out files as they come: it would keep those of few tests, the slowest, for the end."""
    config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """Keep the collector from walking through all that was imported, again and again, while tests run."""
    gc.collect()
    gc.freeze()
