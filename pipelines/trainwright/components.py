"""The components, for `@dsl.pipeline` functions of one's own. Importing one imports kfp."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright_components.batch_predict.component import batch_predict
    from trainwright_components.check_evaluation.component import check_evaluation
    from trainwright_components.deploy_serving.component import deploy_serving
    from trainwright_components.evaluate.component import evaluate
    from trainwright_components.export_savedmodel.component import export_savedmodel
    from trainwright_components.hyperparameter_tune.component import hyperparameter_tune
    from trainwright_components.prepare_data.component import prepare_data
    from trainwright_components.quantize_tflite.component import quantize_tflite
    from trainwright_components.train_distributed.component import train_distributed

__all__ = [
    "batch_predict",
    "check_evaluation",
    "deploy_serving",
    "evaluate",
    "export_savedmodel",
    "hyperparameter_tune",
    "prepare_data",
    "quantize_tflite",
    "train_distributed",
]


if not TYPE_CHECKING:  # a type checker knows the names above, and finds all others wrong

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'trainwright.components' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"trainwright_components.{name}.component"), name)
        return found


def __dir__() -> list[str]:
    return __all__
