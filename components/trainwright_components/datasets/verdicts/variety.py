"""Columns that have too few different values to learn from, or too many."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, Values
from trainwright_components.datasets.verdicts.moments import find_moments
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict
from trainwright_components.datasets.words import space_characters

NEARLY = 0.99
FEW_OTHERS = 20  # a share of 1 % is much to learn from in a large table
MANY_VALUES = 50
FEW_ROWS_PER_VALUE = 5
_SHOWN = 3


class Constants:
    """Columns in which all rows agree, or nearly all."""

    kinds: ClassVar[tuple[str, ...]] = ("constant", "nearly constant")

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        same, nearly = {}, {}
        for name, values in evidence.features.items():
            value, others = _most_frequent(values, evidence.rows)
            present = values.profile.rows - values.profile.missing
            if values.distinct == 1 and not values.profile.missing:
                same[name] = repr(_short(value))
            elif 0 < present <= FEW_OTHERS and present <= (1 - NEARLY) * evidence.rows:
                nearly[name] = f"missing but for {present:,}"
            elif values.distinct > 1 and others <= FEW_OTHERS and others <= (1 - NEARLY) * evidence.rows:
                nearly[name] = f"{_short(value)!r} but for {others:,}"
        rows = evidence.rows
        if same:
            finding = f"all {rows:,} rows have the value {_listed(same)}"
            yield _verdict("constant", finding, evidence, tuple(same))
        if nearly:
            finding = f"nearly all of {rows:,} rows have one value: {_listed(nearly)}"
            yield _verdict("nearly constant", finding, evidence, tuple(nearly))


class Cardinalities:
    """Texts with so many different values that a model sees most of them too rarely."""

    kinds: ClassVar[tuple[str, ...]] = ("high cardinality",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        for name, values in evidence.features.items():
            present = values.profile.rows - values.profile.missing
            if values.numbers is not None or values.distinct <= MANY_VALUES or not present:
                continue
            if present / values.distinct >= FEW_ROWS_PER_VALUE or _has_words_in_common(values) or find_moments(values):
                continue
            known = values.profile.values
            once = sum(1 for count in known.values() if count == 1) if known else int((values.counts == 1).sum())
            among = "" if known else f" among {len(values.codes):,} rows drawn by chance"
            yield Verdict(
                kind="high cardinality",
                columns=(name,),
                finding=f"it has {values.distinct:,} different texts{among}, {once:,} of them once, "
                "too rare to learn from",
                evidence={"distinct": values.distinct, "once": once, "rows": present},
                advice=(evidence.given.without(name),),
            )


def _verdict(kind: str, finding: str, evidence: Evidence, names: tuple[str, ...]) -> Verdict:
    settings = {"data.exclude": [*evidence.given.exclude, *names]}
    advice = (Advice(text="leave it out" if len(names) == 1 else "leave them out", settings=settings),)
    numbers = {"columns": len(names), "rows": evidence.rows}
    return Verdict(kind=kind, columns=names, finding=finding, evidence=numbers, advice=advice)


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(list(values.values())[:_SHOWN]) + (" and so on" if len(values) > _SHOWN else "")


def _most_frequent(values: Values, rows: int) -> tuple[str, int]:
    """The most frequent value and how many rows have another or none: as counted, else as the sample has it."""
    if values.profile.values:
        ((value, count),) = values.profile.values.most_common(1)
        return value, rows - count
    if not len(values.counts):
        return "", rows
    place = int((values.codes == int(values.counts.argmax()) + 1).argmax())
    share = int(values.counts.max()) / len(values.codes)
    return str(values.texts[place]), round((1 - share) * rows)


def _has_words_in_common(values: Values) -> bool:
    """Whether most words of the texts occur in several of them, so that a model of text can learn from them."""
    words = [word for text in values.texts[values.present].tolist() for word in space_characters(text).split()]
    return len(set(words)) <= len(words) / 2


def _short(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


_: tuple[type[Check], ...] = (Constants, Cardinalities)
