"""Prepared datasets on real data, made once for all tests of components."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine


@pytest.fixture(scope="session")
def digits_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits: 1,797 rows, feature `image` (8, 8) float32 in 0-16, label `digit` of ten classes."""
    from trainwright_components.prepare_data.prepare import prepare_data

    return prepare_data("digits", tmp_path_factory.mktemp("digits") / "dataset").dataset


@pytest.fixture(scope="session")
def tabular_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's wine as CSV: 178 rows, label `cultivar` (class_0 to class_2), four numbers, the text `strength`.

    Every 15th `ash` and every 20th `strength` is missing.
    """
    wine = load_wine(as_frame=True)
    table = wine.data[["alcohol", "ash", "hue", "proline"]].copy()
    table["strength"] = np.where(
        table["alcohol"] > 13.5, "strong", np.where(table["alcohol"] > 12.5, "medium", "light")
    )
    table.loc[::15, "ash"] = np.nan
    table.loc[::20, "strength"] = None
    table["cultivar"] = pd.Series(wine.target_names[wine.target], index=table.index)
    path = tmp_path_factory.mktemp("tabular") / "wine.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def tabular_dataset(tabular_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tabular_csv` prepared: three classes, four numeric features, one categorical, missing values in two."""
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    output = tmp_path_factory.mktemp("tabular") / "dataset"
    return prepare_data(tabular_csv, output, PrepareSettings(label="cultivar")).dataset


@pytest.fixture(scope="session")
def regression_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's diabetes: 442 rows, ten numeric features, label `progression`, a number in 25-346."""
    from trainwright_components.prepare_data.prepare import prepare_data

    return prepare_data("diabetes", tmp_path_factory.mktemp("regression") / "dataset").dataset
