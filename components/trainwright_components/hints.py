"""What the person may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_LEAST_PART = 3  # of a name; fewer letters are in too many others


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like `name`, or has it as a part; empty where none is."""
    by_shape = {_shape(each): str(each) for each in known}
    near = get_close_matches(_shape(name), by_shape, n=1)
    if not near and len(name) >= _LEAST_PART:
        near = [shape for shape in by_shape if _shape(name) in shape]
    return by_shape[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str], *, list_at_most: int = 20) -> str:
    """The end of an error message: the name that was probably meant, else the names there are, at most so many."""
    names = [str(each) for each in known]
    if near := nearest(name, names):
        return f"; did you mean {near!r}?"
    if not list_at_most:
        return ""
    if not names:
        return "; there is none"
    more = f" and {len(names) - list_at_most} more" if len(names) > list_at_most else ""
    return f"; there is: {', '.join(names[:list_at_most])}{more}"


def _shape(name: str) -> str:
    return name.lower().replace("-", "_")
