"""Features as a baseline takes them: compact while they are read, then one sparse matrix of float32.

Numbers: the median for what is missing, then scaled. Categories: the most frequent one for what is missing, then
one-hot. Texts: TF-IDF.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.schema import Feature
from trainwright_components.datasets.statistics import SplitStatistics
from trainwright_components.evaluate.baselines.protocol import Columns, Unfit

_MISSING = -1
_CELL_BYTES = 8  # a value and its place
_WORD_CHARACTERS = 6
_TEXT_BYTES = 60  # of a Python string beside its characters


def compact(features: Mapping[str, NDArray[Any]], of: Iterable[Feature]) -> dict[str, Any]:
    """The columns of a batch: numbers as float32, categories as their places in the vocabulary, texts as they are."""
    columns: dict[str, Any] = {}
    for feature in of:
        values = features[feature.name]
        flat = values.reshape(len(values), -1)
        if feature.kind == "text":
            columns[feature.name] = [b" ".join(row).decode(errors="replace") for row in flat.tolist()]
        elif feature.dtype == "string":
            columns[feature.name] = _places(flat, feature.vocabulary)
        else:
            numbers = flat.astype(np.float32)
            columns[feature.name] = np.where(np.isfinite(numbers), numbers, np.float32(np.nan))
    return columns


def join(batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One after the other."""
    found: dict[str, list[Any]] = {}
    for batch in batches:
        for name, column in batch.items():
            found.setdefault(name, []).append(column)
    return {
        name: [text for part in parts for text in part] if isinstance(parts[0], list) else np.concatenate(parts)
        for name, parts in found.items()
    }


def size_of_matrix(features: Iterable[Feature], statistics: SplitStatistics) -> int:
    """About how many bytes the rows take, as columns and as a matrix."""
    return 2 * statistics.rows * sum(_cell_bytes(feature, statistics) for feature in features)


def _cell_bytes(feature: Feature, statistics: SplitStatistics) -> int:
    if feature.kind != "text":
        return _CELL_BYTES * int(np.prod(feature.shape))
    column = statistics.columns.get(feature.name)
    characters = (column.mean or 0.0) if column else 0.0
    return _TEXT_BYTES + int(characters * (1 + _CELL_BYTES / _WORD_CHARACTERS))


def _places(values: NDArray[Any], vocabulary: tuple[str, ...]) -> NDArray[np.int32]:
    known = {value.encode(): place for place, value in enumerate(vocabulary)} | {b"": _MISSING}
    found, groups = np.unique(values.astype(object), return_inverse=True)
    places = np.array([known.get(value, len(vocabulary)) for value in found.tolist()], np.int32)
    return places[groups.reshape(values.shape)]


class Matrix:
    """What turns columns into numbers, learned from the training rows."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self._features = tuple(features)
        self._parts: dict[str, Any] = {}

    def fit(self, columns: Columns) -> Any:
        """Learn medians, scales, categories and words; the sparse matrix of these rows.

        Raises:
            Unfit: No column says anything.
        """
        found = {}
        for feature in self._features:
            column = columns[feature.name]
            if feature.kind == "text" and not any(map(_has_word, column)):
                continue
            self._parts[feature.name] = _make_part(feature)
            found[feature.name] = self._parts[feature.name].fit_transform(column)
        if not found:
            raise Unfit("no column holds a number, a category or a word")
        return self._stack(found)

    def transform(self, columns: Columns) -> Any:
        """The matrix of other rows."""
        return self._stack({name: part.transform(columns[name]) for name, part in self._parts.items()})

    def _stack(self, parts: Mapping[str, Any]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        return hstack([csr_matrix(part) for part in parts.values()], format="csr", dtype=np.float32)


def _has_word(text: str) -> bool:
    from re import search

    return search(r"\b\w\w+\b", text) is not None


def _make_part(feature: Feature) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if feature.kind == "text":
        return TfidfVectorizer(dtype=np.float32)
    if feature.dtype == "string":
        frequent = SimpleImputer(missing_values=_MISSING, strategy="most_frequent", keep_empty_features=True)
        return make_pipeline(frequent, OneHotEncoder(handle_unknown="ignore", dtype=np.float32))
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
