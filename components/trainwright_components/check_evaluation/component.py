"""KFP face of `check_evaluation`: unpack, call."""

from typing import Any

from kfp import dsl

from trainwright_components.images import CPU_IMAGE


@dsl.component(base_image=CPU_IMAGE, install_kfp_package=False)
def check_evaluation(
    dataset: dsl.Input[dsl.Dataset],
    module: dsl.Input[dsl.Artifact],
    params: dict[str, Any] = {},
    evaluation: dict[str, Any] = {},
) -> None:
    """Refuse what is asked of a model, before it is trained, where no model of this dataset could have it.

    Args:
        dataset: A dataset that prepare_data wrote.
        module: The model module: a Python file or a folder.
        params: Overrides of the module's DEFAULT_PARAMS.
        evaluation: What is asked of the model, such as thresholds, slices and champion_tolerance.
    """
    from pathlib import Path

    from trainwright_components.check_evaluation import check

    check.check_evaluation(Path(dataset.path), module.path, params=params, evaluation=evaluation)
