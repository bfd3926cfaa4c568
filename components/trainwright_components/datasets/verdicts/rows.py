"""Rows that are alike: too often the same, or with different labels."""

from collections.abc import Iterator
from typing import ClassVar

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

MANY_REPEATED, FEWEST_REPEATED = 0.01, 3
MANY_CONFLICTING = 0.01


class LikeRows:
    """Rows with the features of an earlier one; and among them those with another class."""

    kinds: ClassVar[tuple[str, ...]] = ("duplicates", "conflicting labels")

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        equal = evidence.equal
        if equal is None or not equal.rows:
            return
        repeated, conflicting = equal.repeated / equal.rows, equal.conflicting / equal.rows
        about = "" if equal.is_exact else "about "
        if repeated >= MANY_REPEATED and equal.repeated >= FEWEST_REPEATED:
            yield Verdict(
                kind="duplicates",
                finding=f"{about}{repeated:.1%} of the rows repeat the features of an earlier row",
                evidence={"share": round(repeated, 6), "counted_rows": equal.rows, "repeated": equal.repeated},
                advice=(Advice(text=_about_copies(evidence)),),
            )
        if evidence.has_classes and conflicting >= MANY_CONFLICTING and equal.conflicting >= FEWEST_REPEATED:
            yield Verdict(
                kind="conflicting labels",
                finding=f"{about}{conflicting:.1%} of the rows have the features of others but not their most frequent "
                "class, so that no model can be right about them",
                evidence={"share": round(conflicting, 6), "counted_rows": equal.rows, "conflicting": equal.conflicting},
                advice=(Advice(text="correct the labels, or add a column that tells such rows apart"),),
            )


def _about_copies(evidence: Evidence) -> str:
    if evidence.given.way_to_split != "time_column":
        return "remove the copies unless they are cases of their own; equal rows stay in one split"
    if evidence.targets is None:
        return "remove the copies unless they are cases of their own, as those of another time are"
    return (
        "a model answers the same for all times of such rows: add columns that change with time, or features of "
        "earlier labels with data.lags and, for several series, data.series_column"
    )


_: type[Check] = LikeRows
