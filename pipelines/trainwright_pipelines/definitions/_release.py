"""The tail that the training pipelines share: evaluate, and for a blessed model export, quantize and deploy."""

from typing import Any

from kfp import dsl

from trainwright_components.deploy_serving.component import deploy_serving
from trainwright_components.evaluate.component import evaluate
from trainwright_components.export_savedmodel.component import export_savedmodel
from trainwright_components.quantize_tflite.component import quantize_tflite


def release(model: Any, dataset: Any, *, model_name: Any, evaluation: Any, quantization: Any, serving: Any) -> None:
    """Add the tasks to the pipeline that is being built; every argument is a channel or a parameter of it."""
    verdict = evaluate(model=model, dataset=dataset, evaluation=evaluation, quantization=quantization, serving=serving)
    # A KFP condition cannot look into a mapping: evaluate reads the switches of the groups.
    with dsl.If(verdict.outputs["is_blessed"] == True, name="blessed"):  # noqa: E712  a channel, compared at run time
        exported = export_savedmodel(model=model, dataset=dataset, scores=verdict.outputs["scores"])
        with dsl.If(verdict.outputs["quantize"] == True, name="quantize"):  # noqa: E712
            quantize_tflite(saved_model=exported.outputs["saved_model"], dataset=dataset, quantization=quantization)
        with dsl.If(verdict.outputs["deploy"] == True, name="deploy"):  # noqa: E712
            deploy_serving(
                saved_model=exported.outputs["saved_model"],
                golden_requests=exported.outputs["golden_requests"],
                model_name=model_name,
                serving=serving,
                compared_with=verdict.outputs["compared_with"],
            ).set_caching_options(False)
