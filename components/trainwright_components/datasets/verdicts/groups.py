"""Columns that name what several rows are about: the visits of a patient, the orders of a customer."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, Values
from trainwright_components.datasets.verdicts.moments import find_moments
from trainwright_components.datasets.verdicts.names import has_name_of_an_id, words_of
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

FEWEST_GROUPS, FEWEST_PAIRS = 10, 20
MOST_ROWS_PER_GROUP = 100
_UNNAMED_GROUPS = 20
ALIKE = 0.9  # how far rows of a group agree where chance is 0 and equality is 1
SOMEWHAT_ALIKE = 0.3
_COMPARED_COLUMNS, _UNNAMED_COLUMNS = 50, 20
_WORDS = frozenset(
    {*("patient", "subject", "person", "individual", "animal", "specimen", "donor", "participant", "member", "student")}
    | {*("customer", "client", "user", "visitor", "account", "employee", "player", "household", "family", "company")}
    | {*("firm", "school", "site", "group", "session", "device", "sensor", "machine")}
)


class Groups:
    """Entities that have several rows which are alike: apart, they are asked about what was learnt by heart."""

    kinds: ClassVar[tuple[str, ...]] = ("group",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        if evidence.given.way_to_split == "key_column":
            return
        columns = {name: _Compared(values) for name, values in evidence.features.items()}
        candidates = [name for name, values in evidence.features.items() if _may_name_groups(values)]
        unnamed = [name for name in candidates if not _has_name_of_a_group(evidence.features[name])]
        for name in candidates:
            values, is_named = evidence.features[name], name not in unnamed
            if not is_named and name in unnamed[_UNNAMED_COLUMNS:]:
                continue
            pairs = _pairs(values)
            if not len(pairs):
                continue
            others = [other for other in columns if other != name][:_COMPARED_COLUMNS]
            alike = [other for other in others if columns[other].agreement(pairs) >= ALIKE]
            label = _label_agreement(evidence, pairs)
            if is_named:
                is_group = bool(alike) or label >= SOMEWHAT_ALIKE
            else:
                is_group = len(alike) >= max(2, len(others) / 2) and values.distinct >= _UNNAMED_GROUPS
            if not is_group:
                continue
            yield Verdict(
                kind="group",
                columns=(name,),
                finding=_finding(values, alike, label),
                evidence={
                    "groups": values.distinct,
                    "rows": evidence.rows,
                    "alike_columns": len(alike),
                    "label_agreement": round(label, 4),
                },
                advice=_advice(evidence, values),
            )


def _has_name_of_a_group(values: Values) -> bool:
    """Whether the name says so, or the values do: digits with leading zeros, as nobody writes a quantity."""
    if has_name_of_an_id(values.name) or _WORDS & set(words_of(values.name)):
        return True
    texts = values.texts[values.present].tolist() if values.numbers is None else []
    return any(text.startswith("0") for text in texts) and all(map(str.isdigit, texts))


def _finding(values: Values, alike: list[str], label: float) -> str:
    parts = [f"{values.distinct:,} different values name about {values.profile.rows / values.distinct:.1f} rows each"]
    if alike:
        listed = ", ".join(map(repr, alike[:3])) + (f" and {len(alike) - 3} more" if len(alike) > 3 else "")
        parts.append(f"which agree in {listed}")
    if label >= SOMEWHAT_ALIKE:
        parts.append(f"{'and' if alike else 'which agree'} in the label to {label:.0%} beyond chance")
    return " ".join(parts) + "; apart, the test asks about what was learnt by heart"


def _advice(evidence: Evidence, values: Values) -> tuple[Advice, ...]:
    leave = evidence.given.without(values.name)
    if evidence.given.way_to_split or values.profile.missing:
        return (leave,)
    return Advice(text="keep rows of one value in one split", settings={"data.key_column": values.name}), leave


def _may_name_groups(values: Values) -> bool:
    present = values.profile.rows - values.profile.missing
    if values.distinct < FEWEST_GROUPS or not present:
        return False
    if values.numbers is not None and (not values.profile.is_whole or values.profile.is_bool):
        return False
    rows_per_group = present / values.distinct if values.profile.values is not None else 2.0
    return 1.2 <= rows_per_group <= MOST_ROWS_PER_GROUP and not find_moments(values)


def _pairs(values: Values) -> NDArray[np.intp]:
    """Rows of the sample that share a value, each with the next: `(pairs, 2)`; none where they are few."""
    order = np.argsort(values.codes, kind="stable")
    codes = values.codes[order]
    same = (codes[1:] == codes[:-1]) & (codes[1:] > 0)
    pairs = np.stack([order[:-1][same], order[1:][same]], axis=1)
    return pairs if len(pairs) >= FEWEST_PAIRS else pairs[:0]


class _Compared:
    """A column, ready to be compared in many pairs of rows."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def agreement(self, pairs: NDArray[np.intp]) -> float:
        """How far the rows of pairs agree: 1 for equality, 0 for chance."""
        return (
            _code_agreement(self._codes, pairs)
            if self._values.numbers is None
            else _order_agreement(self._codes, pairs)
        )

    @cached_property
    def _codes(self) -> NDArray[np.intp]:
        numbers = self._values.numbers
        return self._values.codes if numbers is None else _ranks(np.where(self._values.present, numbers, -np.inf))


def _code_agreement(codes: NDArray[np.intp], pairs: NDArray[np.intp]) -> float:
    """Scott's pi."""
    shares = np.bincount(codes) / len(codes)
    chance = float((shares**2).sum())
    equal = float((codes[pairs[:, 0]] == codes[pairs[:, 1]]).mean())
    return (equal - chance) / (1 - chance) if chance < 1 else 0.0


def _order_agreement(ranks: NDArray[np.intp], pairs: NDArray[np.intp]) -> float:
    """One less the ratio of the mean squared difference to that of any two rows: the intraclass correlation."""
    spread = 2 * float(ranks.var())
    difference = ranks[pairs[:, 0]] - ranks[pairs[:, 1]]
    return 1 - float((difference**2).mean()) / spread if spread else 0.0


def _label_agreement(evidence: Evidence, pairs: NDArray[np.intp]) -> float:
    if (classes := evidence.classes) is not None:
        return _code_agreement(classes, pairs)
    if (targets := evidence.targets) is not None and targets.ndim == 1:
        return _order_agreement(_ranks(targets), pairs)
    return 0.0


def _ranks(numbers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places in order, so that a few large values do not outweigh all others."""
    return np.unique(numbers, return_inverse=True)[1]


_: type[Check] = Groups
