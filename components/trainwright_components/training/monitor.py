"""Metrics that a setting such as `training.monitor` names: refuse one that is none, before the training if possible."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.drivers.driver import as_numbers
from trainwright_components.user_module.keras_kind import is_overridden, is_tf_keras
from trainwright_components.user_module.module import ModelModule

if TYPE_CHECKING:
    import keras

_GIVE_METRICS = ("train_step", "test_step", "compute_metrics", "get_metrics_result")


def check_monitor(monitor: str, metrics: Iterable[str], *, setting: str = "training.monitor") -> None:
    """Refuse a `monitor`, which `setting` names, that is none of `metrics`.

    Raises:
        InvalidSetting: It is not.
    """
    known = list(metrics)
    if monitor not in known:
        raise InvalidSetting(f"unknown metric {monitor!r} in {setting}; there are: {', '.join(known)}")


def foresee_metrics(module: ModelModule, model: "keras.Model", *, has_validation: bool) -> list[str]:
    """The metrics that each epoch of a built `model` will have; none where code of the user's decides on them.

    Every member of a cluster has to call this.
    """
    if module.callbacks is not None or is_tf_keras(model) or any(is_overridden(model, name) for name in _GIVE_METRICS):
        return []
    names = list(as_numbers(model.get_metrics_result()))
    return [*names, *(f"val_{name}" for name in names if has_validation)]
