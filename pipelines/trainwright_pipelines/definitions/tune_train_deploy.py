"""The main job with a search for the best hyperparameters before the training."""

from kfp import dsl

from trainwright_components.check_evaluation.component import check_evaluation
from trainwright_components.hyperparameter_tune.component import hyperparameter_tune
from trainwright_components.prepare_data.component import prepare_data
from trainwright_components.train_distributed.component import train_distributed
from trainwright_pipelines.definitions._release import release


@dsl.pipeline(name="tune-train-deploy", display_name="Tune, train and deploy")
def tune_train_deploy(
    source: str = "digits",
    label: str = "",
    module: str = "digits",
    model_name: str = "digits",
    data: dict = {},
    params: dict = {},
    tuning: dict = {},
    training: dict = {},
    cluster: dict = {},
    evaluation: dict = {},
    quantization: dict = {},
    serving: dict = {},
) -> None:
    """Find good hyperparameters, train with them, and serve the model if it is good enough.

    Args:
        source: A bundled set (digits, breast_cancer, wine, iris, diabetes), a path or a pattern; gs:// and s3:// too.
        label: The column to predict; the source's own when empty.
        module: The model: a shipped example (digits, tabular_classifier, tabular_regressor), a Python file or a folder.
        model_name: The name that the model is served under.
        data: How rows are read, typed and split, such as task, format, time_column, test_source, exclude and kinds.
        params: Hyperparameters that replace the module's DEFAULT_PARAMS.
        tuning: Settings of the study, such as metric, goal, algorithm, max_trial_count and search_space.
        training: Training settings, such as epochs, batch_size, seed and strategy.
        cluster: Replicas of chief, worker, ps and evaluator, such as {"worker": 2}; empty for one process.
        evaluation: What is asked of the model, such as thresholds, slices and champion_tolerance.
        quantization: TFLite models: enabled, modes and budget, among others.
        serving: Where the model is served: enabled, and base_path, the folder of its versions.
    """
    user_module = dsl.importer(artifact_uri=module, artifact_class=dsl.Artifact, reimport=False)
    prepared = prepare_data(source=source, label=label, data=data)
    checked = check_evaluation(
        dataset=prepared.outputs["dataset"], module=user_module.output, params=params, evaluation=evaluation
    )
    tuned = hyperparameter_tune(
        dataset=prepared.outputs["dataset"],
        module=user_module.output,
        params=params,
        training=training,
        tuning=tuning,
    ).after(checked)
    trained = train_distributed(
        dataset=prepared.outputs["dataset"],
        module=user_module.output,
        params=tuned.outputs["best_params"],
        training=training,
        cluster=cluster,
    )
    release(
        trained.outputs["model"],
        prepared.outputs["dataset"],
        model_name=model_name,
        evaluation=evaluation,
        quantization=quantization,
        serving=serving,
    )
