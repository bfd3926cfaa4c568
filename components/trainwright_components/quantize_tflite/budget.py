"""Limits of a TFLite model, and which of them a mode breaks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import check_minimum

if TYPE_CHECKING:
    from trainwright_components.quantize_tflite.measure import Measurement


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a TFLite model may cost; None is no limit.

    Args:
        max_size_bytes: Of the file.
        max_latency_ms: Of the median run of one row on one thread of this machine.
        max_accuracy_drop: Below the float model's accuracy, or R2 of a regression.
        min_agreement: Share of rows that it must answer like the float model.
    """

    max_size_bytes: float | None = None
    max_latency_ms: float | None = None
    max_accuracy_drop: float | None = None
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        check_minimum(self, where="quantization.budget", minimum={})
        if self.min_agreement is not None and self.min_agreement > 1:
            raise InvalidSetting(f"quantization.budget.min_agreement is a share, at most 1, got {self.min_agreement}")

    def excesses(self, size_bytes: int, measured: "Measurement") -> tuple[str, ...]:
        """What is over the budget, or cannot be held against it, each as a sentence; NaN breaks any budget."""
        values = {
            "max_size_bytes": (size_bytes, "is {value:,} bytes, over {limit:,.0f}"),
            "max_latency_ms": (measured.p50_ms, "takes {value:.3f} ms a row, over {limit:g}"),
            "max_accuracy_drop": (measured.score_drop, "loses {value:.4f} of the float model's score, over {limit:g}"),
        }
        broken = []
        if measured.not_finite:
            broken.append(f"answers {measured.not_finite:,} of {measured.rows:,} rows with NaN or infinity")
        for name, (value, text) in values.items():
            limit = getattr(self, name)
            if limit is not None and value is None:
                broken.append(f"has no score on these rows that could be held against {name} {limit:g}")
            elif limit is not None and not value <= limit:
                broken.append(text.format(value=value, limit=limit))
        if self.min_agreement is not None and not measured.agreement >= self.min_agreement:
            broken.append(
                f"answers {measured.agreement:.2%} of rows like the float model, under {self.min_agreement:.2%}"
            )
        return tuple(broken)
