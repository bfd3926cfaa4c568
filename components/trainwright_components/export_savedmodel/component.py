"""KFP face of `export_model`: unpack, call, record."""

from typing import Any

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def export_savedmodel(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    saved_model: dsl.Output[dsl.Model],
    golden_requests: dsl.Output[dsl.Artifact],
    model_card: dsl.Output[dsl.Markdown],
    scores: dict[str, Any] = {},
) -> None:
    """Turn a trained model into a SavedModel that a server can load, and prove that it answers as the Keras model does.

    Args:
        model: The trained model, as train-distributed or hyperparameter-tune wrote it.
        dataset: The prepared dataset, whose rows become requests.
        scores: Metrics by name for the model card, such as evaluate's output of this name.

    Returns:
        saved_model: The SavedModel folder, with preprocessing in the graph and warm-up records.
        golden_requests: A JSON-lines file of requests with the Keras model's own answers, to replay where it is served.
        model_card: What the model is, what it was made of, and where its knowledge ends.
    """
    from pathlib import Path

    from trainwright_components.export_savedmodel.export import export_model

    exported = export_model(
        Path(model.path),
        Path(dataset.path),
        Path(saved_model.path),
        golden=Path(golden_requests.path),
        card=Path(model_card.path),
        evaluation=scores,
    )
    saved_model.metadata.update(exported.metadata)
