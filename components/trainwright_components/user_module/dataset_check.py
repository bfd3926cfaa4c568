"""Refuse what `make_dataset` of a model module returned if nothing can be trained on it. Reads no row."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule

if TYPE_CHECKING:
    import tensorflow as tf

_WANTED = "return a tf.data.Dataset of (features, label) or (features, label, weight), where features is a dict"
_MOST_PARTS = 3


def check_dataset(made: Any, split: str, *, module: str) -> "tf.data.Dataset":
    """The dataset that `make_dataset` of `module` made for `split`; its elements are tuples, also of features alone.

    Raises:
        InvalidModule: It is none, or its elements are of another structure.
    """
    import tensorflow as tf

    def refuse(what: str) -> InvalidModule:
        return InvalidModule(f"make_dataset of {module} {what} for the {split} split; {_WANTED}")

    if not isinstance(made, tf.data.Dataset):
        raise refuse(f"returned {'None' if made is None else f'an object of type {type(made).__name__}'}")
    if isinstance(made.element_spec, Mapping):
        made = made.map(lambda features: (features,))
    parts = made.element_spec
    if not isinstance(parts, tuple):
        raise refuse(f"gives single rows as {_in_words(parts)}")
    if not 1 <= len(parts) <= _MOST_PARTS:
        raise refuse(f"gives rows of {len(parts)} parts")
    features = parts[0]
    if not isinstance(features, Mapping) or not features:
        raise refuse(f"gives features as {_in_words(features)}")
    named = {"label": parts[1:2], "weight": parts[2:3], **features}
    for name, part in named.items():
        for spec in tf.nest.flatten(part, expand_composites=False):
            if not isinstance(spec, tf.TensorSpec):
                raise refuse(f"gives {name!r} as {_in_words(spec)}, not as a dense tensor,")
    return made


def _in_words(spec: Any) -> str:
    import tensorflow as tf

    if isinstance(spec, tf.TensorSpec):
        return f"one tensor of shape {tuple(spec.shape)}"
    if isinstance(spec, tuple | list | Mapping):
        return f"a {type(spec).__name__} of {len(spec)}"
    return f"a {type(spec).__name__.removesuffix('Spec').removesuffix('V2')}"
