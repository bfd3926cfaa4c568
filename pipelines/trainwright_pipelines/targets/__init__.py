"""Where a compiled pipeline runs: this machine, Kubeflow, Vertex AI.

A target is imported only when it is asked for: their clients take seconds to load.
"""

TARGETS = {
    "local": "trainwright_pipelines.targets.local:Local",
    "kubeflow": "trainwright_pipelines.targets.kubeflow:Kubeflow",
    "vertex": "trainwright_pipelines.targets.vertex:Vertex",
}
