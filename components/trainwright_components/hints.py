"""What the person may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, list_at_most: int = 12) -> str:
    """The end of an error message: the nearest known name, or all of them when they are few."""
    names = list(known)
    by_shape = {_shape(each): each for each in names}
    near = get_close_matches(_shape(name), by_shape, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {by_shape[near[0]]!r}?"
    if names and len(names) <= list_at_most:
        return f"; there is: {', '.join(names)}"
    return ""


def _shape(name: str) -> str:
    return name.lower().replace("-", "_")
