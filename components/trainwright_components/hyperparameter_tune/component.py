"""KFP face of `tune_model`: unpack, call, record."""

from typing import Any, NamedTuple

from kfp import dsl

from trainwright_components.images import CPU_IMAGE
from trainwright_components.reuse import CONTINUED

# No `from __future__ import annotations` here: KFP reads the annotations themselves.


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def hyperparameter_tune(
    dataset: dsl.Input[dsl.Dataset],
    module: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    study: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    params: dict[str, Any] = {},
    training: dict[str, Any] = {},
    tuning: dict[str, Any] = {},
) -> NamedTuple("Outputs", [("best_params", dict)]):  # type: ignore[valid-type]  # the form that KFP reads
    """Search for the parameters with the best metric.

    Args:
        dataset: The prepared dataset; trials train on its train split and are compared on its validation split.
        module: The model module, whose SEARCH_SPACE names the parameters.
        params: Overrides of the module's DEFAULT_PARAMS for all trials.
        training: Training settings, such as epochs, batch_size, seed and strategy.
        tuning: Settings of the study, such as metric, goal, algorithm, max_trial_count and search_space.

    Returns:
        model: The best trial's trained model.
        metrics: The best value, and how many trials there were.
        study: The study's folder: study.json in Vertex' shape, and the log of each trial.
        report: A page with history, importance and parallel coordinates.
        best_params: All parameters of the best trial, ready for train_distributed.
    """
    from pathlib import Path

    from trainwright_components.hyperparameter_tune.tune import tune_model
    from trainwright_components.training.trained_model import TrainedModel

    result = tune_model(
        Path(dataset.path),
        module.path,
        Path(study.path),
        model_folder=Path(model.path),
        report=Path(report.path),
        params=params,
        training=training,
        tuning=tuning,
    )
    for name, value in result.numbers().items():
        metrics.log_metric(name, value)
    hyperparameters = TrainedModel.load(result.model_folder).hyperparameters
    model.metadata.update(params=result.best_params, hyperparameters=hyperparameters)
    study.metadata["best_trial"] = result.best.id
    return (result.best_params,)


# From the trials that are done.
hyperparameter_tune.component_spec.implementation.container.env = CONTINUED
