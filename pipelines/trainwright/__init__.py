"""The names that users may rely on: pipelines and their runs, each step as a function, what model modules need, errors.

`trainwright.components` has the components, for pipelines of one's own. Everything else in `trainwright_pipelines` and
`trainwright_components` is private and may change in any release.

Nothing is imported before its name is used: a model module that wants a `Context` brings in no pipeline compiler.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright._runs import (
        PipelineRun,
        PipelineRunFailed,
        compile,
        get_run,
        list_runs,
        rerun,
        resume,
        run,
        submit,
    )
    from trainwright._serving import predict
    from trainwright_components.batch_predict.predict import PredictSettings
    from trainwright_components.batch_predict.predict import predict_rows as batch_predict
    from trainwright_components.check_evaluation.check import check_evaluation
    from trainwright_components.cluster.spec import ClusterSpec
    from trainwright_components.datasets.reader import read_split
    from trainwright_components.deploy_serving.deploy import deploy_model as deploy
    from trainwright_components.errors import (
        BudgetExceeded,
        ComparisonOutdated,
        DeploymentRejected,
        InvalidData,
        InvalidModule,
        InvalidPipeline,
        InvalidSetting,
        RunFailed,
        RunNotFound,
        ServingUnavailable,
        TargetUnavailable,
        TrainingFailed,
        TrainwrightError,
        UserCodeError,
    )
    from trainwright_components.evaluate.evaluate import evaluate_model as evaluate
    from trainwright_components.export_savedmodel.export import export_model as export
    from trainwright_components.hyperparameter_tune.tune import tune_model as tune
    from trainwright_components.metrics.settings import EvaluationSettings
    from trainwright_components.prepare_data.prepare import prepare_data as prepare
    from trainwright_components.prepare_data.settings import PrepareSettings
    from trainwright_components.quantize_tflite.budget import Budget
    from trainwright_components.quantize_tflite.quantize import quantize_model as quantize
    from trainwright_components.quantize_tflite.settings import QuantizationSettings
    from trainwright_components.saved_models.serving import ServingSettings
    from trainwright_components.train_distributed.train import train_model as train
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_components.tuning.study import TuningSettings
    from trainwright_components.user_module.linear_first import LinearFirst, LinearFirstSchedule
    from trainwright_components.user_module.module import Context
    from trainwright_components.user_module.tabular_features import table_inputs, table_sizes
    from trainwright_pipelines.requests.locations import shipped_modules
    from trainwright_pipelines.targets.protocol import Submission

__all__ = [
    "Budget",
    "BudgetExceeded",
    "ClusterSpec",
    "ComparisonOutdated",
    "Context",
    "DeploymentRejected",
    "EvaluationSettings",
    "InvalidData",
    "InvalidModule",
    "InvalidPipeline",
    "InvalidSetting",
    "LinearFirst",
    "LinearFirstSchedule",
    "PipelineRun",
    "PipelineRunFailed",
    "PredictSettings",
    "PrepareSettings",
    "QuantizationSettings",
    "RunFailed",
    "RunNotFound",
    "ServingSettings",
    "ServingUnavailable",
    "Submission",
    "TargetUnavailable",
    "TrainingFailed",
    "TrainingSettings",
    "TrainwrightError",
    "TuningSettings",
    "UserCodeError",
    "batch_predict",
    "check_evaluation",
    "compile",
    "deploy",
    "evaluate",
    "export",
    "get_run",
    "list_runs",
    "predict",
    "prepare",
    "quantize",
    "read_split",
    "rerun",
    "resume",
    "run",
    "shipped_modules",
    "submit",
    "table_inputs",
    "table_sizes",
    "train",
    "tune",
]

_WHERE = {
    "Budget": "trainwright_components.quantize_tflite.budget:Budget",
    "ClusterSpec": "trainwright_components.cluster.spec:ClusterSpec",
    "Context": "trainwright_components.user_module.module:Context",
    "EvaluationSettings": "trainwright_components.metrics.settings:EvaluationSettings",
    "LinearFirst": "trainwright_components.user_module.linear_first:LinearFirst",
    "LinearFirstSchedule": "trainwright_components.user_module.linear_first:LinearFirstSchedule",
    "PipelineRun": "trainwright._runs:PipelineRun",
    "PipelineRunFailed": "trainwright._runs:PipelineRunFailed",
    "PredictSettings": "trainwright_components.batch_predict.predict:PredictSettings",
    "PrepareSettings": "trainwright_components.prepare_data.settings:PrepareSettings",
    "QuantizationSettings": "trainwright_components.quantize_tflite.settings:QuantizationSettings",
    "ServingSettings": "trainwright_components.saved_models.serving:ServingSettings",
    "Submission": "trainwright_pipelines.targets.protocol:Submission",
    "TrainingSettings": "trainwright_components.training.configuration.settings:TrainingSettings",
    "TuningSettings": "trainwright_components.tuning.study:TuningSettings",
    "batch_predict": "trainwright_components.batch_predict.predict:predict_rows",
    "check_evaluation": "trainwright_components.check_evaluation.check:check_evaluation",
    "compile": "trainwright._runs:compile",
    "deploy": "trainwright_components.deploy_serving.deploy:deploy_model",
    "evaluate": "trainwright_components.evaluate.evaluate:evaluate_model",
    "export": "trainwright_components.export_savedmodel.export:export_model",
    "get_run": "trainwright._runs:get_run",
    "list_runs": "trainwright._runs:list_runs",
    "predict": "trainwright._serving:predict",
    "prepare": "trainwright_components.prepare_data.prepare:prepare_data",
    "quantize": "trainwright_components.quantize_tflite.quantize:quantize_model",
    "read_split": "trainwright_components.datasets.reader:read_split",
    "rerun": "trainwright._runs:rerun",
    "resume": "trainwright._runs:resume",
    "run": "trainwright._runs:run",
    "shipped_modules": "trainwright_pipelines.requests.locations:shipped_modules",
    "submit": "trainwright._runs:submit",
    "table_inputs": "trainwright_components.user_module.tabular_features:table_inputs",
    "table_sizes": "trainwright_components.user_module.tabular_features:table_sizes",
    "train": "trainwright_components.train_distributed.train:train_model",
    "tune": "trainwright_components.hyperparameter_tune.tune:tune_model",
}
_ERRORS = "trainwright_components.errors"


if not TYPE_CHECKING:  # a type checker knows the names above, and finds all others wrong

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'trainwright' has no attribute {name!r}")
        module, _, attribute = _WHERE.get(name, f"{_ERRORS}:{name}").partition(":")
        found = globals()[name] = getattr(import_module(module), attribute)
        return found


def __dir__() -> list[str]:
    return __all__
