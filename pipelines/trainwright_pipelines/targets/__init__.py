"""Where a compiled pipeline runs: this machine, Kubeflow, Vertex AI.

A target is imported only when it is asked for: their clients take seconds to load.
"""

TARGETS = {
    "local": "trainwright_pipelines.targets.local.target:Local",
    "kubeflow": "trainwright_pipelines.targets.kubeflow.target:Kubeflow",
    "vertex": "trainwright_pipelines.targets.vertex.target:Vertex",
}
DEFAULT_TARGET = "local"
