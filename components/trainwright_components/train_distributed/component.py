"""KFP face of `train_model`: unpack, call, record."""

from typing import Any

from kfp import dsl

from trainwright_components.images import CPU_IMAGE
from trainwright_components.reuse import CONTINUED


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def train_distributed(
    dataset: dsl.Input[dsl.Dataset],
    module: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    tensorboard_logs: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    params: dict[str, Any] = {},
    training: dict[str, Any] = {},
    cluster: dict[str, Any] = {},
) -> None:
    """Train a model module on one device, on several, or on a cluster.

    Args:
        dataset: A dataset that prepare_data wrote.
        module: The model module: a Python file or a folder.
        params: Overrides of the module's DEFAULT_PARAMS.
        training: Training settings, such as epochs, batch_size, seed and strategy.
        cluster: Replicas of chief, worker, ps and evaluator, such as {"worker": 2}; empty for one process.

    Returns:
        model: The trained model with its module, parameters, schema and checkpoints.
        metrics: The metrics of the weights that were kept, the difference to one device if asked for, and those of the
            evaluator's best checkpoint.
        tensorboard_logs: Logs for TensorBoard.
        report: A page with curves, throughput, cluster and settings.
    """
    from pathlib import Path

    from trainwright_components.train_distributed.train import train_model
    from trainwright_components.training.trained_model import TrainedModel

    result = train_model(
        Path(dataset.path),
        module.path,
        Path(model.path),
        params=params,
        training=training,
        cluster=cluster,
        log_dir=Path(tensorboard_logs.path),
        report=Path(report.path),
    )
    for name, value in result.numbers.items():
        metrics.log_metric(name, value)
    model.metadata.update(
        framework="keras",
        steps=result.steps,
        seconds=round(result.seconds, 3),
        strategy=result.strategy,
        replicas=result.replicas,
        **result.reuse,
        hyperparameters=TrainedModel.load(Path(model.path)).hyperparameters,
    )


# From the last checkpoint.
train_distributed.component_spec.implementation.container.env = CONTINUED
