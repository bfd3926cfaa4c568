"""How the rows of validation and test differ from those of training, column by column."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.accumulate import (
    ClassAccumulator,
    NumberAccumulator,
    SplitAccumulator,
    ValueAccumulator,
)
from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, SplitDrift
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

LARGE = 0.2  # of 1, the greatest difference between two distributions
_BY_CHANCE = 1e-4  # how often a table may have a verdict by chance
_FEWEST_EXPECTED = 5


class Drifts:
    """Columns whose values differ between the splits."""

    kinds: ClassVar[tuple[str, ...]] = ("drift",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        certain = _BY_CHANCE / max(1, len(evidence.drift))
        large = [each for each in evidence.drift if each.distance >= LARGE and each.chance < certain]
        for name in dict.fromkeys(each.column for each in large):
            worst = max((each for each in large if each.column == name), key=lambda each: each.distance)
            label = evidence.schema.label if evidence.schema else None
            is_label = label is not None and name in (label.name, *label.statistics_names)
            advice = Advice(text="the label changes: expect another accuracy once the model is served")
            yield Verdict(
                kind="drift",
                columns=(name,),
                finding=f"its distribution in {worst.split} is {worst.distance:.2f} away from that in train "
                "(0 is equal, 1 has nothing in common)",
                evidence={"split": worst.split, "distance": round(worst.distance, 4)},
                advice=(advice if is_label else evidence.given.without(name, "if it only tells when a row was made"),),
            )


def find_drift(splits: Mapping[str, SplitAccumulator]) -> tuple[SplitDrift, ...]:
    """How each column of numbers, texts or classes of the other splits differs from that of train."""
    found = []
    for split in [split for split in splits if split != "train"]:
        others = splits[split].by_column
        for name, one in splits["train"].by_column.items():
            other = others[name]
            if isinstance(one, NumberAccumulator) and isinstance(other, NumberAccumulator):
                distance, chance = number_drift(one.sample, other.sample)
            elif isinstance(one, ValueAccumulator | ClassAccumulator) and isinstance(other, type(one)):
                distance, chance = text_drift(one.counts, other.counts)
            else:
                continue
            found.append(SplitDrift(column=name, split=split, distance=distance, chance=chance))
    return tuple(found)


def number_drift(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """The two-sample Kolmogorov-Smirnov statistic, and its probability by chance, from the first term of its series."""
    if not len(one) or not len(other):
        return 0.0, 1.0
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    below = [np.searchsorted(each, places, side="right") / len(each) for each in (one, other)]
    distance = float(np.abs(below[0] - below[1]).max())
    scale = len(one) * len(other) / (len(one) + len(other))
    return distance, min(1.0, 2 * float(np.exp(-2 * scale * distance**2)))


def text_drift(one: Mapping[str, int], other: Mapping[str, int]) -> tuple[float, float]:
    """The total variation distance of counted texts, and its probability by chance by the chi-squared test.

    Texts that are too rare for the test count as one.
    """
    totals = sum(one.values()), sum(other.values())
    if not all(totals):
        return 0.0, 1.0
    both = Counter(one) + Counter(other)
    share = min(totals) / sum(totals)
    names = [name for name, count in both.items() if count * share >= _FEWEST_EXPECTED]
    table = np.array([[counts.get(name, 0) for name in names] for counts in (one, other)], np.float64)
    rest = np.array(totals, np.float64) - table.sum(axis=1)
    if rest.any():
        table = np.concatenate([table, rest[:, None]], axis=1)
    if table.shape[1] < 2:
        return 0.0, 1.0
    expected = table.sum(axis=0) * table.sum(axis=1)[:, None] / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    shares = table / table.sum(axis=1)[:, None]
    return float(np.abs(shares[0] - shares[1]).sum() / 2), _chi_squared_tail(statistic, table.shape[1] - 1)


def _chi_squared_tail(statistic: float, freedom: int) -> float:
    """How often chance gives `statistic` or more: Wilson and Hilferty, "The distribution of chi-square" (1931)."""
    width = 2 / (9 * freedom)
    return math.erfc(((statistic / freedom) ** (1 / 3) - (1 - width)) / math.sqrt(2 * width)) / 2


_: type[Check] = Drifts
