"""Names that a TensorFlow graph accepts, for features whose own names it refuses. Imports no TensorFlow."""

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def graph_names(names: Iterable[str]) -> tuple[str, ...]:
    """Different names for placeholders, each as close to its own of `names` as may be."""
    taken: list[str] = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if _is_pythons(safe) or not re.match(r"[A-Za-z]", safe):
            safe = f"input_{safe}"
        while safe.lower() in (each.lower() for each in taken):
            safe += "_"
        taken.append(safe)
    return tuple(taken)


def can_be_arguments(names: Sequence[str], safe_names: Sequence[str]) -> bool:
    """Whether a loaded signature can take its arguments under `names`, which are `safe_names` in the graph.

    TensorFlow makes Python names of them and passes the arguments in the order of these, which has to be the one that
    the graph was made with.
    """
    made = ["".join(sign if sign.isalnum() else "_" for sign in name) for name in names]
    made = [name if name[:1].isalpha() else f"arg_{name}" for name in made]
    indices = range(len(made))
    is_in_order = sorted(indices, key=made.__getitem__) == sorted(indices, key=safe_names.__getitem__)
    are_possible = all(name.isidentifier() and not _is_pythons(name) for name in made)  # m² is not
    return is_in_order and len(set(made)) == len(made) and are_possible


def input_specs(signature: Any) -> "Mapping[str, tf.TensorSpec]":
    """The inputs of a loaded signature under the names that clients use, sorted."""
    return dict(sorted((name, spec) for name, _, spec in _inputs(signature)))


def call_signature(signature: Any, inputs: "Mapping[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
    """What a loaded signature answers to `inputs`, which are under the names that clients use.

    Raises:
        KeyError: An input is missing.
    """
    answers: dict[str, tf.Tensor] = signature(**{argument: inputs[name] for name, argument, _ in _inputs(signature)})
    return answers


def _inputs(signature: Any) -> "list[tuple[str, str, tf.TensorSpec]]":
    """Clients' name, argument and spec of each input.

    The specs' own names are the placeholders': TensorFlow 2.21 turns `Age` into `age` there, and what TensorFlow 1
    wrote has whatever its graph called them.
    """
    arguments: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    # has no public name; differs from the arguments only where `can_be_arguments` is false, and is in their order
    names = [str(name) for name in signature._arg_keywords]
    if set(names) == set(arguments):
        return [(name, name, spec) for name, spec in arguments.items()]
    return [(name, argument, arguments[argument]) for name, argument in zip(names, sorted(arguments), strict=True)]


def _is_pythons(name: str) -> bool:
    """Whether Python, or the method of TensorFlow that takes the arguments, keeps `name` for itself."""
    return keyword.iskeyword(name) or name == "self"
