"""The main job with a search for the best hyperparameters before the training."""

from kfp import dsl

from trainwright_components.hyperparameter_tune.component import hyperparameter_tune
from trainwright_components.prepare_data.component import prepare_data
from trainwright_components.train_distributed.component import train_distributed
from trainwright_pipelines.definitions._release import release


@dsl.pipeline(name="tune-train-deploy", display_name="Tune, train and deploy")
def tune_train_deploy(
    source: str = "digits",
    label: str = "",
    task: str = "auto",
    source_format: str = "",
    validation_source: str = "",
    test_source: str = "",
    key_column: str = "",
    time_column: str = "",
    split_column: str = "",
    weight_column: str = "",
    exclude: list = [],
    kinds: dict = {},
    module: str = "digits",
    params: dict = {},
    tuning: dict = {},
    training: dict = {},
    cluster: dict = {},
    thresholds: dict = {},
    slices: list = [],
    champion_tolerance: float = 0.0,
    replace_incomparable_champion: bool = False,
    model_name: str = "digits",
    model_base_path: str = "",
    quantize: bool = True,
    quantize_modes: list = [],
    quantize_budget: dict = {"max_accuracy_drop": 0.01},
    deploy: bool = True,
) -> None:
    """Find good hyperparameters, train with them, and serve the model if it is good enough.

    Args:
        source: A bundled set (digits, breast_cancer, wine, iris, diabetes), a file, a pattern or a folder; gs:// too.
        label: The column to predict; the source's own when empty.
        task: auto, classification or regression.
        source_format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        validation_source: Rows for validation, when they are files of their own.
        test_source: Rows for the final test, when they are files of their own.
        key_column: Rows with the same value here stay in one split.
        time_column: The latest rows by this column are the test, those before them the validation.
        split_column: The column that says train, validation or test.
        weight_column: The column with the weight of each row.
        exclude: Columns that are no features.
        kinds: The kind of a column where its values do not tell, such as {"zip": "categorical"}.
        module: The model: a shipped example (digits, tabular_classifier, tabular_regressor), a Python file or a folder.
        params: Hyperparameters that replace the module's DEFAULT_PARAMS.
        tuning: Settings of the study, such as metric, goal, algorithm, max_trial_count and search_space.
        training: Training settings, such as epochs, batch_size, seed and strategy.
        cluster: Replicas of each role, such as {"worker": 2}; empty trains in one process.
        thresholds: Limits that a metric must keep for the model to be blessed, such as {"accuracy": 0.9}.
        slices: Categorical features whose values are scored one by one.
        champion_tolerance: How much worse than the served model it may be: 0.01 is 1% of an error, 0.01 of a score.
        replace_incomparable_champion: Whether a model may replace one that cannot be read, or scored on its rows.
        model_name: The name that the model is served under.
        model_base_path: The folder of the model's versions; empty for this machine's own.
        quantize: Whether to make a TFLite model too.
        quantize_modes: Of float32, dynamic_range, float16, int8 and int16x8; all when empty.
        quantize_budget: Limits of the TFLite model: max_accuracy_drop, max_size_bytes, max_latency_ms, min_agreement.
        deploy: Whether to serve the model.
    """
    user_module = dsl.importer(artifact_uri=module, artifact_class=dsl.Artifact, reimport=False)
    data = prepare_data(
        source=source,
        label=label,
        task=task,
        source_format=source_format,
        validation_source=validation_source,
        test_source=test_source,
        key_column=key_column,
        time_column=time_column,
        split_column=split_column,
        weight_column=weight_column,
        exclude=exclude,
        kinds=kinds,
    )
    tuned = hyperparameter_tune(
        dataset=data.outputs["dataset"],
        module=user_module.output,
        params=params,
        training=training,
        tuning=tuning,
    )
    trained = train_distributed(
        dataset=data.outputs["dataset"],
        module=user_module.output,
        params=tuned.outputs["best_params"],
        training=training,
        cluster=cluster,
    )
    release(
        trained.outputs["model"],
        data.outputs["dataset"],
        thresholds=thresholds,
        slices=slices,
        champion_tolerance=champion_tolerance,
        replace_incomparable_champion=replace_incomparable_champion,
        model_name=model_name,
        model_base_path=model_base_path,
        quantize=quantize,
        quantize_modes=quantize_modes,
        quantize_budget=quantize_budget,
        deploy=deploy,
    )
