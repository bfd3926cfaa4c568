"""What is wrong with the label: classes with few rows, classes of very different size, no label at all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

FEW_ROWS = 20  # leave three to test, at the shares by default
IMBALANCED = 10  # times as many rows in the largest class as in the smallest
_SHOWN = 5


class Classes:
    """Classes that have too few rows to learn, or far fewer than others."""

    kinds: ClassVar[tuple[str, ...]] = ("classes with few rows", "imbalance")

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        if evidence.labels:
            yield from _of_answers(evidence)
        if not evidence.has_classes or evidence.label is None:
            return
        ranked = sorted(evidence.class_counts.items(), key=lambda item: item[1])
        if few := [(name, count) for name, count in ranked if count < FEW_ROWS]:
            yield Verdict(
                kind="classes with few rows",
                columns=(evidence.label.name,),
                finding=f"it has classes with fewer than {FEW_ROWS} rows: {_listed(dict(few), '{:,}')}",
                evidence={"classes": len(few), "fewest_rows": few[0][1]},
                advice=(Advice(text="add rows, merge such classes or remove them"),),
            )
        (least, fewest), (greatest, most) = ranked[0], ranked[-1]
        if most >= IMBALANCED * fewest and not evidence.given.has_class_weights:
            share = most / sum(evidence.class_counts.values())
            yield Verdict(
                kind="imbalance",
                columns=(evidence.label.name,),
                finding=f"{greatest!r} has {most / max(fewest, 1):.0f} times as many rows as {least!r}: "
                f"who always says {greatest!r} is right about {share:.1%}",
                evidence={"largest_share": round(share, 6), "ratio": round(most / max(fewest, 1), 3)},
                advice=(
                    Advice(text="look at recall and precision of each class, not at accuracy alone"),
                    Advice(
                        text="to find more of the rare at the price of accuracy, let their rows count more",
                        settings={"training.class_weights": _weights(ranked)},
                    ),
                ),
            )


def _of_answers(evidence: Evidence) -> Iterator[Verdict]:
    """Of several labels that are yes or no: those of which one answer has too few rows, or far fewer than the other."""
    counts = {each.label.name: sorted(each.class_counts.values()) for each in evidence.of_each_label if each.label}
    counts = {name: count for name, count in counts.items() if len(count) == 2}
    if few := {name: count[0] for name, count in counts.items() if count[0] < FEW_ROWS}:
        yield Verdict(
            kind="classes with few rows",
            columns=tuple(few),
            finding=f"fewer than {FEW_ROWS} rows have one of the two answers: {_listed(few, '{:,}')}",
            evidence={"labels": len(few), "fewest_rows": min(few.values())},
            advice=(Advice(text="add rows, or leave such labels out of data.labels"),),
        )
    if uneven := {name: count[0] / sum(count) for name, count in counts.items() if count[1] >= IMBALANCED * count[0]}:
        yield Verdict(
            kind="imbalance",
            columns=tuple(uneven),
            finding=f"one of the two answers is rare: {_listed(uneven, '{:.1%}')} of the rows; who never gives it is "
            "right about the others",
            evidence={"labels": len(uneven), "rarest_share": round(min(uneven.values()), 6)},
            advice=(Advice(text="look at recall and precision of each label, not at accuracy alone"),),
        )


def _listed(numbers: Mapping[str, float], form: str) -> str:
    shown = sorted(numbers.items(), key=lambda item: item[1])
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(f"{name!r} ({form.format(number)})" for name, number in shown[:_SHOWN]) + more


def _weights(ranked: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Of the rare classes: half way, as a factor, from rows that count alike to classes that do."""
    most = ranked[-1][1]
    return {name: round((most / count) ** 0.5, 2) for name, count in ranked if most >= IMBALANCED * count > 0}


class MissingLabels:
    """Rows that were dropped, since they have no label."""

    kinds: ClassVar[tuple[str, ...]] = ("missing labels",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        label = evidence.schema.label if evidence.schema else None
        if not evidence.unlabeled or label is None:
            return
        total = evidence.rows + evidence.unlabeled
        yield Verdict(
            kind="missing labels",
            columns=label.columns,
            finding=f"{evidence.unlabeled:,} of {total:,} rows have no label and are dropped",
            evidence={"unlabeled": evidence.unlabeled, "rows": total},
            advice=(Advice(text="find out why: rows without a label may be unlike the others"),),
        )


_: tuple[type[Check], ...] = (Classes, MissingLabels)
