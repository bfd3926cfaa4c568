"""What a training run tells the user's module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.user_module.module import Context, ModelModule, resolve_params


def make_context(
    module: ModelModule,
    dataset: Path,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    *,
    role: str = "chief",
    role_index: int = 0,
    replicas: int = 1,
    log_dir: Path | None = None,
) -> Context:
    """The context of a training run on `dataset` with `params`.

    Raises:
        InvalidSetting: The module has no such parameter.
    """
    return Context(
        params=resolve_params(module, params),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
        batch_size=settings.batch_size,
        seed=settings.seed,
        role=role,
        role_index=role_index,
        replicas=replicas,
        log_dir=log_dir,
    )
