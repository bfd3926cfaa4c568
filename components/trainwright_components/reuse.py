"""How a component says in its own compiled spec that its results stand for no later run.

KFP knows caching as an option of a task, which the author of each pipeline sets or forgets. A variable of the container
goes with the component into every pipeline.
"""

NEVER_REUSED = {"TRAINWRIGHT_REUSE": "never"}
