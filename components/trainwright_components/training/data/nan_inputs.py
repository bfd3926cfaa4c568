"""Which inputs of a model hold NaN: the likeliest reason for a loss or a weight that is NaN or infinite."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainwright_components.datasets.reader import read_split
from trainwright_components.user_module.module import Context, ModelModule

_ROWS, _SEARCHED_ROWS = 512, 100_000


def find_nan_inputs(module: ModelModule, context: Context) -> str:
    """In words, what of the train split is NaN when the model gets it; empty when nothing is.

    Looks at the first rows, and at those of a prepared dataset with NaN in what is stored.
    """
    if module.make_dataset is not None:
        parts = [module.make_dataset("train", context)]  # which may take long for each row
    else:
        rows = read_split(context.dataset, "train")
        parts = [rows, rows.take(_SEARCHED_ROWS).filter(_holds_nan)]
    for part in parts:
        for features, *rest in part.take(_ROWS).batch(context.batch_size):
            if said := _describe(module, features, module.preprocess(features, context), rest):
                return said
    return ""


def _describe(module: ModelModule, features: Any, inputs: Any, rest: Sequence[Any]) -> str:
    if bool(_holds_nan(inputs)):
        given = _nan_names(inputs)
        stored = _nan_names(features)
        if names := [name for name in stored if name in given] or stored:
            them = f"{', '.join(names)} of the train split {'holds' if len(names) == 1 else 'hold'} NaN"
            return f"{them}, which reaches the model: fill it in preprocess"
        where = f" in {', '.join(given)}" if given else ""
        return f"preprocess of {module.location.name} gives the model NaN{where}"
    for what, column in zip(("labels", "weights"), rest, strict=False):
        if bool(_holds_nan(column)):
            return f"the {what} of the train split hold NaN"
    return ""


def _nan_names(columns: Any) -> list[str]:
    return [name for name, column in columns.items() if _holds_nan(column)] if isinstance(columns, Mapping) else []


def _holds_nan(*structure: Any) -> Any:
    """Whether a tensor of `structure` does, as a boolean tensor; also within a graph."""
    import tensorflow as tf

    tensors = [part for part in tf.nest.flatten(structure) if tf.is_tensor(part) and part.dtype.is_floating]
    found = [tf.reduce_any(tf.math.is_nan(tensor)) for tensor in tensors]
    return tf.reduce_any(tf.stack(found)) if found else tf.constant(False)
