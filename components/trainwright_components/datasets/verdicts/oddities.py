"""Single values that do not fit their column: words among numbers, numbers far from all others."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import MISSING_TEXTS
from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

MOSTLY_NUMBERS = 0.5
_FEW_WORDS = 5
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MANY_NUMBERS = 20
FAR, FAR_IN_LOGARITHMS = 10, 1.5  # times the distance between the 1 % and 99 % quantiles
FEWEST_VALUES = 50
_STANDS_FOR_MISSING = re.compile(r"-?(?:9{2,}|8{2,}|7{2,})|-1")
_FEWEST_OF_A_SIGN = 3


class MixedTypes:
    """Texts most of which are numbers: the others make a text of them all."""

    kinds: ClassVar[tuple[str, ...]] = ("mixed types",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        for name, values in evidence.features.items():
            if values.numbers is not None or values.profile.is_bool or name in evidence.given.kinds:
                continue
            counts = values.profile.values or Counter(values.texts[values.present].tolist())
            words = {text: count for text, count in counts.items() if not _NUMBER.fullmatch(text)}
            numbers = counts.total() - sum(words.values())
            if not words or len(counts) - len(words) < _MANY_NUMBERS or _has_codes(counts):
                continue
            share = numbers / counts.total()
            if share < MOSTLY_NUMBERS:
                continue
            ranked = sorted(words, key=lambda word: (-words[word], word))
            shown = ", ".join(f"{word!r} ({words[word]:,})" for word in ranked[:3])
            yield Verdict(
                kind="mixed types",
                columns=(name,),
                finding=f"{share:.1%} of its values are numbers, the others are words, such as {shown}",
                evidence={"numbers": numbers, "words": sum(words.values()), "different_words": len(words)},
                advice=_advice(evidence, name, ranked),
            )


class Outliers:
    """Numbers that are far from all others: slips, or signs for a missing value."""

    kinds: ClassVar[tuple[str, ...]] = ("outliers",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        columns = dict(evidence.features)
        if evidence.label is not None and not evidence.has_classes and evidence.label.profile.shape == ():
            columns[evidence.label.name] = evidence.label
        for name, values in columns.items():
            if values.numbers is None or values.profile.is_bool:
                continue
            numbers = values.numbers[values.present]
            if len(numbers) < FEWEST_VALUES:
                continue
            least, greatest = values.profile.min, values.profile.max
            if sign := _sign_for_missing(numbers):
                count = int((numbers == float(sign)).sum())
                yield Verdict(
                    kind="outliers",
                    columns=(name,),
                    finding=f"{sign} stands in {count / len(numbers):.1%} of the rows, far from all other values: does "
                    "it mean missing?",
                    evidence={"value": float(sign), "share": count / len(numbers)},
                    advice=(_missing(evidence, [sign]),) if evidence.has_texts else (),
                )
            elif far := find_far(numbers, least, greatest):
                low, high = _middle(numbers)
                listed = " and ".join(f"{value:g}" for value in far)
                yield Verdict(
                    kind="outliers",
                    columns=(name,),
                    finding=f"{listed} is far from 98 % of the values, which are from {low:g} to {high:g}",
                    evidence={"value": far[0], "low": low, "high": high},
                    advice=(Advice(text="correct the row, or remove it"),),
                )


def find_far(numbers: NDArray[np.float64], least: float, greatest: float) -> tuple[float, ...]:
    """Which of the extremes are far from the others, also in logarithms where all are positive."""
    low, high = _middle(numbers)
    width = high - low
    if not width:
        return ()
    far = [value for value in (least, greatest) if max(low - value, value - high) > FAR * width]
    positive = numbers[numbers > 0]
    if least >= 0 and greatest in far and len(positive) >= FEWEST_VALUES:
        low, high = np.log(np.quantile(positive, (0.01, 0.99)))
        if np.log(greatest) - high <= FAR_IN_LOGARITHMS * (high - low):
            far.remove(greatest)
    return tuple(far)


def _middle(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """Between which numbers 98 % lie: of those that are not the most frequent, where that is most of them."""
    different, counts = np.unique(numbers, return_counts=True)
    if len(different) > 1 and 2 * counts.max() > len(numbers):
        numbers = numbers[numbers != different[counts.argmax()]]
    if len(numbers) < FEWEST_VALUES:
        return 0.0, 0.0
    low, high = np.quantile(numbers, (0.01, 0.99))
    return float(low), float(high)


def _sign_for_missing(numbers: NDArray[np.float64]) -> str:
    """A number such as -999 that is the least or the greatest, occurs often, and lies apart; empty for none."""
    different, counts = np.unique(numbers, return_counts=True)
    if len(different) < _MANY_NUMBERS:
        return ""
    for place, neighbours in ((0, different[1:]), (-1, different[:-1])):
        text = f"{different[place]:g}"
        gap, width = float(np.abs(neighbours - different[place]).min()), float(neighbours[-1] - neighbours[0])
        is_sign = _STANDS_FOR_MISSING.fullmatch(text) and counts[place] >= _FEWEST_OF_A_SIGN
        if is_sign and gap > width / 4 and counts[place] < len(numbers) / 2:
            return text
    return ""


def _advice(evidence: Evidence, name: str, words: list[str]) -> tuple[Advice, ...]:
    keep = evidence.given.of_kind(name, "categorical", "to take all of them for categories")
    leave = evidence.given.without(name)
    if len(words) > _FEW_WORDS or not evidence.has_texts:
        return (leave,)
    return _missing(evidence, words), keep


def _missing(evidence: Evidence, words: list[str]) -> Advice:
    """Advice to count words as missing, beside those that count already."""
    known = evidence.given.missing if evidence.given.missing is not None else sorted(MISSING_TEXTS - {""})
    return Advice(text="count it as missing", settings={"data.missing": [*dict.fromkeys([*words, *known])]})


def _has_codes(counts: "Counter[str]") -> bool:
    return any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in counts)


_: tuple[type[Check], ...] = (MixedTypes, Outliers)
