"""Keras 3.15 reads its variables in a way that NumPy 2.4 finds old-fashioned, whenever a model is saved."""

import pytest

_KERAS_AND_NUMPY = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", _KERAS_AND_NUMPY)
