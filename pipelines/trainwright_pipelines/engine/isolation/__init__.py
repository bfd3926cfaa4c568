"""What a step runs in: a process of this machine, or a container of its image.

`choices` says which, `admission` whether that can be had here; `launch` and `container_launch` say what to start, and
the objects of the table start it.
"""

ISOLATIONS = {
    "process": "trainwright_pipelines.engine.isolation.process:Processes",
    "container": "trainwright_pipelines.engine.isolation.container:Containers",
}
