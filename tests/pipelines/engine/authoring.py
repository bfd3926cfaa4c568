"""How the engine's tests declare tiny pipelines: what each is compiled with, and the list of all."""

from kfp.dsl.pipeline_context import pipeline as make_pipeline

PIPELINES = []
PLAIN = {"base_image": "python:3.11", "install_kfp_package": False}
OURS = {"base_image": "trainwright/cpu", "install_kfp_package": False}


def pipeline(function, config=None):
    """Declare a pipeline, and have it compiled."""
    made = make_pipeline(function, pipeline_config=config)
    PIPELINES.append((function.__name__, made))
    return made
