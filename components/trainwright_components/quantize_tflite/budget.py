"""Limits of a TFLite model, and which of them a mode breaks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from trainwright_components.datasets.schema import suggest
from trainwright_components.errors import InvalidSetting

if TYPE_CHECKING:
    from trainwright_components.quantize_tflite.measure import Measurement


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a TFLite model may cost; None is no limit.

    Args:
        max_latency_ms: Of the median run of one row on one thread of this machine.
        max_accuracy_drop: Below the float model's accuracy, or R2 of a regression.
        min_agreement: Share of rows that it must answer like the float model.
    """

    max_size_bytes: float | None = None
    max_latency_ms: float | None = None
    max_accuracy_drop: float | None = None
    min_agreement: float | None = None

    @classmethod
    def parse(cls, limits: Mapping[str, Any]) -> Self:
        """Read limits by name.

        Raises:
            InvalidSetting: An unknown name, or a limit that is not a number of 0 or more.
        """
        known = tuple(field.name for field in fields(cls))
        for name, limit in limits.items():
            if name not in known:
                raise InvalidSetting(f"budget: there is no limit {name!r}{suggest(name, known)}")
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
                raise InvalidSetting(f"budget: {name} must be a number of 0 or more, got {limit!r}")
        if limits.get("min_agreement", 0) > 1:
            raise InvalidSetting(f"budget: min_agreement is a share, at most 1, got {limits['min_agreement']}")
        return cls(**limits)

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
