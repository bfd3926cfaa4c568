"""What a person can say about an evaluation, checked once; knows no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import GIVEN_BY, check_minimum, read_settings

DEFAULT_BATCH_SIZE = 256
MIN_FOLDS, MAX_FOLDS = 3, 20


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to score and what to ask of it.

    Args:
        champion_base_path: The folder of served versions; empty means that there is no champion.
        split: The part of the dataset to score on.
        thresholds: Limits that a metric must keep for the model to be blessed, such as `{"accuracy": 0.9}` or
            `{"log_loss": {"max": 0.3, "max_in_slices": 0.5}}`.
        slices: Categorical features whose values are scored one by one.
        champion_metric: What the model is compared with the served one by; accuracy, micro_f1 or rmse when empty.
        champion_tolerance: How much worse than the served model it may be: a share of the served model's value for
            log_loss, mae, mse, rmse and max_error (0.01 is 1%), else in units of the metric (0.01 of an accuracy).
        replace_incomparable_champion: Whether a model may replace one that cannot be read, or scored on these rows.
        allow_below_baseline: Whether a model may be blessed that is worse beyond chance than a simple baseline.
        batch_size: Rows scored at a time.
        folds: Cross-validation, for tables of at most 1,000 rows: as many models more are trained as there are folds,
            3 to 20, and scored each on the fold that it has not seen; 0 for none.
    """

    champion_base_path: str = field(default="", metadata={GIVEN_BY: "serving.base_path"})
    split: str = "test"
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    champion_metric: str = ""
    champion_tolerance: float = 0.0
    replace_incomparable_champion: bool = False
    allow_below_baseline: bool = False
    batch_size: int = DEFAULT_BATCH_SIZE
    folds: int = 0

    def __post_init__(self) -> None:
        check_minimum(self, where="evaluation", minimum={"batch_size": 1, "folds": None})
        if self.folds and not MIN_FOLDS <= self.folds <= MAX_FOLDS:
            raise InvalidSetting(
                f"evaluation.folds must be {MIN_FOLDS} to {MAX_FOLDS}, or 0 for no cross-validation, got {self.folds}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, champion_base_path: str = "") -> Self:
        """Settings from untyped values, and where the served versions are.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        return read_settings(cls, values, where="evaluation", given={"champion_base_path": champion_base_path})
