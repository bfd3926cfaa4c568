"""Confusion matrix and ROC curve of a `system.ClassificationMetrics` artifact, ready to draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ROC_SIZE = 260.0
_ROC_NOTE = "rocNote"  # what evaluate adds to KFP's own entries


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts by true class (rows) and predicted class (columns)."""

    class_names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    def share(self, row: int, column: int) -> float:
        """The part of the row's examples in this cell, 0 to 1."""
        total = sum(self.rows[row])
        return self.rows[row][column] / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """Points of the curve, from (0, 0) to (1, 1); `note` says whose curve it is, as far as its maker told."""

    points: tuple[tuple[float, float], ...]
    note: str = ""

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids."""
        pairs = zip(self.points, self.points[1:], strict=False)
        return sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pairs)

    @property
    def svg_ticks(self) -> tuple[tuple[str, float], ...]:
        """Labels of both axes, and how far from the origin they are in the drawing."""
        return tuple((f"{share:g}", share * _ROC_SIZE) for share in (0, 0.25, 0.5, 0.75, 1))

    @property
    def svg_points(self) -> str:
        """The points of an SVG polyline, `(0, 0)` at the lower left of a square of 260."""
        return " ".join(f"{x * _ROC_SIZE:.1f},{(1 - y) * _ROC_SIZE:.1f}" for x, y in self.points)


def read_confusion_matrix(metadata: Mapping[str, Any]) -> ConfusionMatrix | None:
    """The matrix, or None when the artifact holds none that makes sense."""
    content = _struct(metadata.get("confusionMatrix"))
    try:
        names = tuple(str(each["displayName"]) for each in content["annotationSpecs"])
        rows = tuple(tuple(float(value) for value in each["row"]) for each in content["rows"])
    except (KeyError, TypeError, ValueError):
        return None
    return ConfusionMatrix(class_names=names, rows=rows) if all(len(row) == len(names) for row in rows) else None


def read_roc_curve(metadata: Mapping[str, Any]) -> RocCurve | None:
    """The curve, or None when the artifact holds none that makes sense."""
    content = metadata.get("confidenceMetrics")
    content = content.get("list", content) if isinstance(content, Mapping) else content
    try:
        points = [(float(each.get("falsePositiveRate", 0)), float(each.get("recall", 0))) for each in content or ()]
    except (AttributeError, TypeError, ValueError):
        return None
    if len(points) < 2:
        return None
    return RocCurve(points=tuple(sorted({(0.0, 0.0), (1.0, 1.0), *points})), note=str(metadata.get(_ROC_NOTE) or ""))


def _struct(value: Any) -> Mapping[str, Any]:
    """KFP's back end wraps structures in a `struct` entry; the SDK does not."""
    if not isinstance(value, Mapping):
        return {}
    inner = value.get("struct", value)
    return inner if isinstance(inner, Mapping) else {}
