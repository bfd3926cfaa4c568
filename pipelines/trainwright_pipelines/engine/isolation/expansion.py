"""`$(NAME)` in commands, arguments and variables, as Kubernetes fills it."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


def names_in(text: str) -> set[str]:
    """The names that `text` refers to."""
    return {match[2] for match in _REFERENCE.finditer(text) if match[1] is None}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$(NAME)` filled; unknown names stay as they are, and `$$` is one `$`.

    As third_party/forked/golang/expansion/expand.go of kubernetes/kubernetes has it.
    """
    return _REFERENCE.sub(lambda match: match[1] or variables.get(match[2], match[0]), text)
