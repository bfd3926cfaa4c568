"""How a container spec says that it runs a Python function."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EXECUTOR_MODULE = re.compile(r"\bkfp\.[\w.]*executor_main\b")  # its package has moved over the years
_FUNCTION_FLAG = "--function_to_execute"


@dataclass(frozen=True, kw_only=True)
class PythonSource:
    """A lightweight component: the code of its function, and the function's name."""

    source: str
    function: str


def python_source(container: Mapping[str, Any]) -> PythonSource | None:
    """The function of a lightweight Python component; None for any other container."""
    command, args = container.get("command") or [], container.get("args") or []
    if _FUNCTION_FLAG not in args[:-1] or len(command) < 2 or not _EXECUTOR_MODULE.search(str(command[-2])):
        return None
    return PythonSource(source=command[-1], function=args[args.index(_FUNCTION_FLAG) + 1])


def is_python(container: Mapping[str, Any]) -> bool:
    """Whether a container runs a Python component, lightweight or with its code in the image."""
    return any(_EXECUTOR_MODULE.search(str(part)) for part in container.get("command") or [])


def serves_here(source: str) -> bool:
    """Whether the code of a lightweight component starts a server that must outlive its step: our deploy-serving."""
    return "trainwright_components.deploy_serving" in source and "deploy_model" in source
