"""What a step runs in: a process of this machine, in place of its image.

`launch` says what to start, the objects of the table start it.
"""

ISOLATIONS = {"process": "trainwright_pipelines.engine.isolation.process:StepProcess"}
