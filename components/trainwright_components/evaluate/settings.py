"""What a person can say about an evaluation, checked once; knows no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainwright_components.errors import InvalidSetting

DEFAULT_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to score and what to ask of it.

    Args:
        thresholds: `{"accuracy": 0.9}` or `{"log_loss": {"max": 0.3, "max_in_slices": 0.5}}`.
        champion_base_path: The folder of served versions; empty means that there is no champion.
        champion_metric: What the champion is compared by; accuracy or rmse when empty.
        champion_tolerance: By how much the model may be worse than the champion: a share of the champion's value for
            log_loss, mae, mse, rmse and max_error, else in units of the metric.
        replace_incomparable_champion: Whether a champion that cannot be read, or scored on these rows, is no obstacle.
        slices: Categorical features.
    """

    split: str = "test"
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    champion_base_path: str = ""
    champion_metric: str = ""
    champion_tolerance: float = 0.0
    replace_incomparable_champion: bool = False
    slices: tuple[str, ...] = ()
    batch_size: int = DEFAULT_BATCH_SIZE

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidSetting(f"batch_size must be at least 1, got {self.batch_size}")
        if not self.champion_tolerance >= 0:
            raise InvalidSetting(f"champion_tolerance must be 0 or more, got {self.champion_tolerance}")
