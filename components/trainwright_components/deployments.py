"""What evaluate and deploy_serving agree on about a deployment folder, whose numeric folders are a model's versions."""

NO_VERSION = "none"
"""What a model was compared with where no version was served."""
