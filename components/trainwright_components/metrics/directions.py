"""Which way a metric is good, by its name alone: ours, or one that a Keras model was compiled with."""

from trainwright_components.metrics.table import METRICS

# Parts of names. Those of Keras' own are held against the directions that Keras knows of them by a test.
_MORE_IS_BETTER = (
    "acc", "auc", "precision", "recall", "f1", "fbeta", "r2", "iou", "io_u", "dice",
    "similarity", "sensitivity", "specificity", "correlation",
)  # fmt: skip


def is_maximized(name: str) -> bool:
    """Whether higher values of the metric `name` are better; what is not known is taken for an error."""
    own = next((found for metrics in METRICS.values() if (found := metrics.get(name.removeprefix("val_")))), None)
    if own:
        return bool(own.more_is_better)
    return any(part in name.lower() for part in _MORE_IS_BETTER)
