"""What a person can say about TFLite models, checked once; knows no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from trainwright_components.quantize_tflite.budget import Budget
from trainwright_components.settings import check_minimum, read_settings

DEFAULT_BUDGET = Budget(max_accuracy_drop=0.01)


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings:
    """What to try and what to measure it on.

    Args:
        enabled: Whether to make a TFLite model of a blessed model.
        modes: Of float32, dynamic_range, float16, int8 and int16x8; all when empty.
        budget: What the TFLite model may cost.
        split: What the modes are compared on.
        max_rows: How many rows of it at most, drawn evenly from all of it.
        calibration_rows: How many train rows, drawn evenly, teach integer modes the ranges of activations.
        dynamic_batch: Whether the model takes any number of rows at a time, not one.
        integer_io: Whether integer modes take and give integers.
        threads: Threads of the interpreter that is timed.
    """

    enabled: bool = True
    modes: tuple[str, ...] = ()
    budget: Budget = field(default_factory=lambda: DEFAULT_BUDGET)
    split: str = "test"
    max_rows: int = 1000
    calibration_rows: int = 200
    dynamic_batch: bool = False
    integer_io: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        check_minimum(self, where="quantization", minimum={"max_rows": 1, "calibration_rows": 1, "threads": 1})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from untyped values; limits that `budget` does not name stay, null lifts one.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        return read_settings(cls, values, where="quantization")
