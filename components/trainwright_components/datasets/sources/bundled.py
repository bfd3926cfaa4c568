"""Real data that ships inside scikit-learn, so that the product runs without a network."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_ROWS, Chunk, Column, Source, SourceTraits


class BundledSet:
    """Rows of a small set held in memory."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._columns, self._label, self._kinds = _LOADERS[name]()

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        return SourceTraits(name=self._name, columns=tuple(self._columns), default_label=self._label, kinds=self._kinds)

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""
        rows = len(self._columns[self._label])
        for start in range(0, rows, CHUNK_ROWS):
            columns = {name: column[start : start + CHUNK_ROWS] for name, column in self._columns.items()}
            yield Chunk(columns=columns, origin=self._name, first_row=start + 1)


_Loaded = tuple[Mapping[str, Column], str, Mapping[str, str]]


def _digits() -> _Loaded:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return {"image": digits.images, "digit": digits.target}, "digit", {"image": "image"}


def _classification(loader: str, label: str) -> Callable[[], _Loaded]:
    def load() -> _Loaded:
        data = _load(loader)
        names = np.array([str(name) for name in data.target_names], dtype=object)
        return {**_features(data), label: names[data.target]}, label, {}

    return load


def _diabetes() -> _Loaded:
    data = _load("load_diabetes", scaled=False)
    return {**_features(data), "progression": data.target}, "progression", {}


def _load(loader: str, **options: Any) -> Any:
    from sklearn import datasets

    return getattr(datasets, loader)(**options)


def _features(data: Any) -> dict[str, Column]:
    names = [str(name).replace(" ", "_").replace("/", "_") for name in data.feature_names]
    return {name: data.data[:, number] for number, name in enumerate(names)}


_LOADERS: Mapping[str, Callable[[], _Loaded]] = {
    "digits": _digits,
    "breast_cancer": _classification("load_breast_cancer", "diagnosis"),
    "wine": _classification("load_wine", "cultivar"),
    "iris": _classification("load_iris", "species"),
    "diabetes": _diabetes,
}
BUNDLED_NAMES = tuple(_LOADERS)

_: type[Source] = BundledSet
