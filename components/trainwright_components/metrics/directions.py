"""Which way a metric is good, by its name alone: ours, or one that a Keras model was compiled with."""

import re
from typing import Any

from trainwright_components.metrics.metric import Metric
from trainwright_components.metrics.table import METRICS

# Parts of names. Those of Keras' own are held against the directions that Keras knows of them by a test.
_MORE_IS_BETTER = (
    "acc", "auc", "precision", "recall", "f1", "fbeta", "r2", "iou", "io_u", "dice",
    "similarity", "sensitivity", "specificity", "correlation",
)  # fmt: skip


_OVER_FOLDS = re.compile(r"folds_(.+)_(mean|std)")


def direction_of(name: str) -> bool | None:
    """`is_maximized`, but None where neither way is better: a mean error of any sign, or the spread over folds."""
    over_folds = _OVER_FOLDS.fullmatch(name)
    if over_folds and over_folds[2] == "std":
        return None
    stem = over_folds[1] if over_folds else name
    own = _own(stem)
    return own.more_is_better if own else is_maximized(stem)


def is_maximized(name: str) -> bool:
    """Whether higher values of the metric `name` are better; what is not known is taken for an error."""
    own = _own(name)
    if own:
        return bool(own.more_is_better)
    return any(part in name.lower() for part in _MORE_IS_BETTER)


def _own(name: str) -> Metric[Any] | None:
    return next((found for metrics in METRICS.values() if (found := metrics.get(name.removeprefix("val_")))), None)
