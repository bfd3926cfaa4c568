"""Names that a TensorFlow graph accepts, for features whose own names it refuses. Imports no TensorFlow."""

import re
from collections.abc import Iterable


def graph_names(names: Iterable[str]) -> tuple[str, ...]:
    """Different names for placeholders, each as close to its own of `names` as may be."""
    taken: list[str] = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
        safe = safe if re.match(r"[A-Za-z]", safe) else f"input_{safe}"
        while safe.lower() in (each.lower() for each in taken):
            safe += "_"
        taken.append(safe)
    return tuple(taken)
