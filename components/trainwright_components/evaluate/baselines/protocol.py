"""What a baseline does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.schema import Schema

Columns = Mapping[str, Any]
"""Features by name: `(rows, width)` float32 of numbers, int32 of categories, see `columns`; a list of texts."""


class Unfit(Exception):
    """Why a baseline cannot be trained on these rows; never leaves this component."""


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """All rows of the training split.

    Args:
        labels: As they are stored: `(rows, *shape)`.
        weights: `(rows,)`; ones where the dataset has none.
        columns: Empty where no baseline looks at them.
    """

    schema: Schema
    labels: NDArray[Any]
    weights: NDArray[np.float64]
    columns: Columns = field(default_factory=dict)


class Baseline(Protocol):
    """A model without settings.

    Args:
        name: As a person reads it.
        reads_columns: Whether it looks at the features.
    """

    name: str
    reads_columns: bool

    def fit(self, rows: TrainingRows) -> str:
        """Learn from all rows; returns what is worth saying about it, or nothing.

        Raises:
            Unfit: It cannot learn from them.
        """

    def answer(self, columns: Columns, rows: int, /) -> NDArray[np.float32]:
        """What the model of the same task puts out for so many rows: probabilities of the classes, or numbers."""
