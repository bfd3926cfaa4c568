"""Which strategy a training run takes, and why."""

from dataclasses import dataclass
from importlib import import_module

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import AUTO, STRATEGIES, TrainingSettings
from trainwright_components.training.strategies.protocol import Strategy


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A strategy, and the reason in words."""

    strategy: Strategy
    reason: str


def find_strategy(name: str) -> Strategy:
    """The strategy `name`, one of `STRATEGIES`."""
    module, _, made = STRATEGIES[name].partition(":")
    strategy: Strategy = getattr(import_module(module), made)()
    return strategy


def choose_strategy(settings: TrainingSettings, cluster: ClusterSpec) -> Choice:
    """The strategy that the settings ask for, or the one that fits the cluster and the devices.

    Raises:
        InvalidSetting: The strategy cannot run on such a cluster, or would have replicas without rows.
    """
    if settings.strategy == AUTO:
        choice = _choose_automatically(settings, cluster)
    else:
        choice = Choice(strategy=find_strategy(settings.strategy), reason="as set")
    choice.strategy.check(settings, cluster)
    check_replicas(choice.strategy.name, choice.strategy.least_replicas(settings, cluster), settings)
    return choice


def _choose_automatically(settings: TrainingSettings, cluster: ClusterSpec) -> Choice:
    choices = (
        Choice(strategy=strategy, reason=strategy.reason(settings, cluster))
        for strategy in map(find_strategy, reversed(STRATEGIES))
    )
    return next(choice for choice in choices if choice.reason)


def check_replicas(name: str, replicas: int, settings: TrainingSettings) -> None:
    """Refuse more replicas than a batch has rows.

    Raises:
        InvalidSetting: There are more.
    """
    rows = settings.batch_size
    if replicas > rows:
        raise InvalidSetting(
            f"{replicas} replicas of strategy {name}, but training.batch_size is {rows}: at most {rows} of them get "
            "rows; raise it, or use fewer devices (training.logical_devices, training.devices) or cluster members"
        )


def check_tf_keras(strategy: Strategy, settings: TrainingSettings) -> None:
    """Refuse for a module for tf_keras what is offered for Keras 3 only.

    Raises:
        InvalidSetting: The strategy, or a precision beside the module's own.
    """
    if not strategy.takes_tf_keras:
        *others, last = [name for name in STRATEGIES if find_strategy(name).takes_tf_keras]
        raise InvalidSetting(
            f"training.strategy {strategy.name} needs a module for Keras 3, and this one is for tf_keras; "
            f"use {', '.join(others)} or {last}"
        )
    if settings.precision:
        raise InvalidSetting(
            f"training.precision {settings.precision} is for modules for Keras 3; call "
            f"tf_keras.mixed_precision.set_global_policy({settings.precision!r}) in build_model"
        )
