"""Where a compiled pipeline runs: this machine, Kubeflow, Vertex AI."""
