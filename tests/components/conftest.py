"""Prepared datasets on real data, made once for all tests of components."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digits_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits: 1,797 rows, feature `image` (8, 8) float32 in 0-16, label `digit` of ten classes."""
    from trainwright_components.prepare_data.prepare import prepare_data

    return prepare_data("digits", tmp_path_factory.mktemp("digits") / "dataset").dataset
