"""What a component says in its own compiled spec about results of its earlier runs and attempts.

KFP knows caching as an option of a task, which the author of each pipeline sets or forgets, and a retry that goes on
from what the last attempt left it does not know. A variable of the container goes with the component into every
pipeline.
"""

from collections.abc import Mapping
from typing import Any

NEVER_REUSED = {"TRAINWRIGHT_REUSE": "never"}
"""Its results stand for no later run."""
CONTINUED = {"TRAINWRIGHT_RETRY": "continue"}
"""It goes on from what an earlier attempt left in its outputs, and checks by itself what of that holds."""

NOT_KEPT = "not_reusable"
"""The key in the metadata of an output whose value says why this one result stands for no later run."""


def states(container: Mapping[str, Any], statement: Mapping[str, str]) -> bool:
    """Whether a container of a compiled spec, as KFP's PipelineContainerSpec has it, makes a statement."""
    variables = {each.get("name"): each.get("value") for each in container.get("env") or []}
    return variables.items() >= statement.items()
