"""The process that lightweight components are forked from. Imports little: a command starts it before all else."""

from trainwright_components.processes.warm_parent import WarmParent

ENTRY = "trainwright_pipelines.engine.task_entry"
"""Not imported here: it reaches TensorFlow, inside the task's own process."""
LIGHT_PRELOAD = (ENTRY, "kfp.dsl.executor")
"""What a lightweight component imports before its own code; no more, or it would be too late for its variables."""


def start_light_parent() -> WarmParent:
    """Start it; its imports go on while this process does something else."""
    return WarmParent.start(LIGHT_PRELOAD)
