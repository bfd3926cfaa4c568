"""Columns that know the label: copies of it, functions of it, and what is written down only once it is known."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, Values
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict, name_columns

FEWEST_ROWS = 30
SUSPICIOUS = 0.95  # the share of errors that one column avoids; a real one such as a petal's width avoids 0.94
SUSPICIOUS_PRESENCE = 0.85
EXPLAINED = 0.99
_COPIED = 1 - 1e-6
_BINS = 64
_FEW_VALUES = 50
_MOST_IN_A_SUM, _MOST_COLUMNS = 8, 200

Numbers = NDArray[np.float64]
Codes = NDArray[np.intp]


class Leaks:
    """Columns that predict the label alone, and sums of columns that are the label."""

    kinds: ClassVar[tuple[str, ...]] = ("leak",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong; of a column that knows several labels, that one of them that it knows best."""
        best: dict[tuple[str, ...], Verdict] = {}
        for each in evidence.of_each_label:
            if each.label is None or len(each.label.column) < FEWEST_ROWS:
                continue
            label = each.label.name if evidence.labels else ""
            for verdict in _judge(each):
                told = replace(verdict, finding=f"of label {label!r}: {verdict.finding}") if label else verdict
                known = best.get(verdict.columns)
                if known is None or float(known.evidence["skill"]) < float(verdict.evidence["skill"]):
                    best[verdict.columns] = told
        yield from best.values()


def _judge(evidence: Evidence) -> Iterator[Verdict]:
    found = []
    history = evidence.schema.history if evidence.schema else None
    for name, values in evidence.features.items():
        if history and name in history.names:  # what a label was before is no leak, however steady it is
            continue
        if said := _of_classes(values, evidence) if evidence.has_classes else _of_numbers(values, evidence):
            found.append(name)
            finding, skill = said
            yield Verdict(
                kind="leak",
                columns=(name,),
                finding=finding,
                evidence={"skill": round(skill, 4), "rows": len(values.codes)},
                advice=(evidence.given.without(name, "if it is not known when you predict, leave it out"),),
            )
    if (targets := evidence.targets) is not None:
        yield from _sums(evidence, targets, known=found)


def class_skill(codes: Codes, classes: Codes) -> tuple[float, float, float]:
    """How well `codes` predict `classes`, each half of the rows from the other.

    Returns:
        The share of the majority's errors that they avoid (Goodman and Kruskal's lambda), their accuracy, and the
        majority's.
    """
    hits, majority = 0, np.bincount(classes).argmax()
    total = int(codes.max(initial=0)) + 1, int(classes.max(initial=0)) + 1
    half = np.random.default_rng(0).permutation(len(codes)) % 2 == 0
    for learnt, asked in ((half, ~half), (~half, half)):
        table = np.bincount(codes[learnt] * total[1] + classes[learnt], minlength=total[0] * total[1]).reshape(total)
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), majority)
        hits += int((guess[codes[asked]] == classes[asked]).sum())
    accuracy, base = hits / len(codes), float((classes == majority).mean())
    return ((accuracy - base) / (1 - base) if base < 1 else 0.0), accuracy, base


def number_skill(values: Values, targets: Numbers) -> float:
    """The share of the variance of `targets` that `values` explain (R²), each half of the rows from the other."""
    known = np.isfinite(targets)
    half = np.random.default_rng(0).permutation(len(targets)) % 2 == 0
    errors = np.zeros(len(targets))
    for learnt, asked in ((half & known, ~half & known), (~half & known, half & known)):
        errors[asked] = targets[asked] - _predict(values, targets, learnt, asked)
    spread = float(((targets[known] - targets[known].mean()) ** 2).sum())
    return 1 - float((errors[known] ** 2).sum()) / spread if spread else 0.0


def binned(values: Values) -> Codes:
    """The values as few codes: numbers by quantiles where there are many; 0 for missing ones."""
    if values.numbers is None or len(values.counts) <= _FEW_VALUES:
        return values.codes
    known = values.numbers[values.present]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.where(values.present, np.searchsorted(edges, values.numbers, side="right") + 1, 0)


def _of_classes(values: Values, evidence: Evidence) -> tuple[str, float] | None:
    classes = evidence.classes
    if classes is None or len(np.unique(classes)) < 2:
        return None
    codes = binned(values)
    if _is_renamed(values, classes):
        return "each of its values stands for one class, and each class for one value: it is the label itself", 1.0
    if values.profile.missing:
        skill, accuracy, base = class_skill(values.present.astype(np.intp), classes)
        if skill >= SUSPICIOUS_PRESENCE:
            what = f"whether it has a value tells the class of {accuracy:.1%} of the rows"
            return f"{what} (the largest class has {base:.1%})", skill
    skill, accuracy, base = class_skill(codes, classes)
    if skill < SUSPICIOUS:
        return None
    return f"alone it predicts the class of {accuracy:.1%} of the rows (the largest class has {base:.1%})", skill


def _is_renamed(values: Values, classes: Codes) -> bool:
    different = int(classes.max()) + 1
    if values.distinct > different:
        return False
    pairs = np.unique(values.codes * different + classes)
    return len(pairs) == len(np.unique(classes)) == len(np.unique(values.codes))


def _of_numbers(values: Values, evidence: Evidence) -> tuple[str, float] | None:
    targets = evidence.targets
    if targets is None or targets.ndim != 1:
        return None
    if values.numbers is not None:
        known = values.present & np.isfinite(targets) & np.isfinite(values.numbers)
        if known.sum() >= FEWEST_ROWS and values.numbers[known].std() and targets[known].std():
            correlation = float(np.corrcoef(values.numbers[known], targets[known])[0, 1])
            if known.all() and correlation**2 >= _COPIED:
                return "it is the label times a number, plus a number", correlation**2
    skill = number_skill(values, targets)
    if skill < EXPLAINED or number_skill(values, _ranks(targets)) < EXPLAINED:
        return None
    return f"alone it explains {_floor(skill)} of the variance of the label, in rows that were not looked at", skill


def _predict(values: Values, targets: Numbers, learnt: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Numbers:
    """The targets of the rows `asked`: between the neighbours of numbers, the mean of codes."""
    mean = float(targets[learnt].mean()) if learnt.any() else 0.0
    if values.numbers is None or len(values.counts) <= _FEW_VALUES:
        codes, size = values.codes, int(values.codes.max(initial=0)) + 1
        counts = np.bincount(codes[learnt], minlength=size)
        sums = np.bincount(codes[learnt], targets[learnt], minlength=size)
        means: Numbers = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
        return means[codes[asked]]
    learnt, has_value = learnt & values.present, values.present[asked]
    places, inverse = np.unique(values.numbers[learnt], return_inverse=True)
    if not len(places):
        return np.full(int(asked.sum()), mean)
    heights = np.bincount(inverse, targets[learnt]) / np.bincount(inverse)
    return np.where(has_value, np.interp(np.where(has_value, values.numbers[asked], 0), places, heights), mean)


def _sums(evidence: Evidence, targets: Numbers, *, known: Sequence[str]) -> Iterator[Verdict]:
    """Columns that add up to the label."""
    numbers = {
        name: values.numbers
        for name, values in evidence.features.items()
        if name not in known and values.numbers is not None and not values.profile.missing and values.distinct > 1
    }
    if not 2 <= len(numbers) <= _MOST_COLUMNS or len(targets) < 2 * len(numbers) + FEWEST_ROWS:
        return
    table = np.stack(list(numbers.values()), axis=1)
    table, aim = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-30), targets - targets.mean()
    if not aim.std() or _explained(table, aim) < _COPIED:
        return
    weights = np.linalg.lstsq(table, aim, rcond=None)[0]
    order = np.argsort(-np.abs(weights))
    for count in range(2, min(_MOST_IN_A_SUM, len(order)) + 1):
        if _explained(table[:, order[:count]], aim) >= _COPIED:
            names = [list(numbers)[place] for place in sorted(order[:count])]
            advice = Advice(
                text="if they are not known when you predict, leave them out",
                settings={"data.exclude": [*evidence.given.exclude, *names]},
            )
            yield Verdict(
                kind="leak",
                columns=tuple(names),
                finding=f"the label is a sum of {name_columns(names, limit=_MOST_IN_A_SUM)}, each times a number",
                evidence={"skill": 1.0, "rows": len(targets)},
                advice=(advice,),
            )
            return


def _explained(table: Numbers, aim: Numbers) -> float:
    rest = aim - table @ np.linalg.lstsq(table, aim, rcond=None)[0]
    return 1 - float((rest**2).sum() / (aim**2).sum())


def _ranks(numbers: Numbers) -> Numbers:
    _, places = np.unique(numbers, return_inverse=True)
    return places.astype(np.float64)


def _floor(share: float) -> str:
    return f"{np.floor(share * 1_000) / 10:.1f} %"


_: type[Check] = Leaks
