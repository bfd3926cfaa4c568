"""What all tests share."""

import gc


def pytest_collection_finish() -> None:
    """Keep the collector from walking through all that was imported, again and again, while tests run."""
    gc.collect()
    gc.freeze()
