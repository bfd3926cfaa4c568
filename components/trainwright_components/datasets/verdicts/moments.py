"""Columns that hold dates or times, as texts or as numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainwright_components.datasets.chunks import Column
from trainwright_components.datasets.dates import WEEKDAY, as_iso, date_order, is_open, tells_day_first
from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, Values
from trainwright_components.datasets.verdicts.names import words_of
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

_MOSTLY, _TRIED = 0.99, 20
_FEWEST_MOMENTS, _FEWEST_YEARS = 3, 10
_TIME = r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?(?:Z|[+-]\d{2}:?\d{2})?)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_ISO = re.compile(rf"\d{{4}}-\d{{2}}(?:-\d{{2}})?{_TIME}")
_OTHERS = re.compile(
    rf"{WEEKDAY}(?:\d{{1,2}}[./-]\d{{1,2}}[./-](?:\d{{4}}|\d{{2}})|\d{{4}}[./]\d{{1,2}}[./]\d{{1,2}}"
    rf"|\d{{1,2}}[ .-]{_MONTH}[ .-]?,? ?\d{{2,4}}|{_MONTH}[ .-]+(?:\d{{1,2}},? +)?\d{{4}}){_TIME}",
    re.IGNORECASE,
)
_YEARS, _YEAR_WORDS = (1_600, 2_200), frozenset({"year", "yr", "yyyy", "jahr", "annee", "año"})
_TIME_WORDS = frozenset({"date", "time", "timestamp", "datetime", "day", "ts", "epoch", "unix", "at", "datum", "when"})
_SECONDS = (631_152_000, 2_524_608_000)  # 1990 to 2050
_SHORTEST_S = 60
_UNITS = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What the values are.

    Args:
        what: For a sentence.
        is_sortable: Whether `data.time_column` takes them: dates, or numbers that grow with time.
        is_read: Whether a model reads them as what they are.
        is_open: Whether these are dates that begin with the day or with the month, and nothing tells.
    """

    what: str
    is_sortable: bool
    is_read: bool = True
    is_open: bool = False


class MomentColumns:
    """Dates and times: as features they say which row it is, or what a model has never seen once it is served."""

    kinds: ClassVar[tuple[str, ...]] = ("date or time",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        for name, values in evidence.features.items():
            if not (found := find_moments(values)):
                continue
            advice = [evidence.given.without(name)]
            can_split = found.is_sortable and not evidence.given.way_to_split and not values.profile.missing
            if can_split and values.distinct >= _FEWEST_MOMENTS:
                advice = [*_ways_to_split(name, found), *advice]
                if not found.is_open and evidence.targets is not None and values.is_unique and _order(values):
                    text, settings = (
                        "and with the label of the row before",
                        {"data.time_column": name, "data.lags": [1]},
                    )
                    advice.insert(1, Advice(text=text, settings=settings))
            hint = "" if found.is_read else "; a model reads them as texts, unless they are written as 2026-01-31"
            hint += ", which begin with the day or with the month" if found.is_open else ""
            yield Verdict(
                kind="date or time",
                columns=(name,),
                finding=f"it holds {found.what}, {values.distinct:,} different ones{_order(values)}{hint}",
                evidence={"distinct": values.distinct, "missing": values.profile.missing},
                advice=tuple(advice),
            )


def _ways_to_split(name: str, found: Moments) -> Iterator[Advice]:
    text = "train on the earlier rows and test on the latest"
    if not found.is_open:
        yield Advice(text=text, settings={"data.time_column": name})
        return
    for first, day_first in (("day", "yes"), ("month", "no")):
        settings = {"data.time_column": name, "data.day_first": day_first}
        yield Advice(text=f"{text}, where dates begin with the {first}", settings=settings)


def find_moments(values: Values) -> Moments | None:
    """What dates or times the values are; None when they are not."""
    if not values.present.any():
        return None
    return _of_texts(values) if values.numbers is None else _of_numbers(values)


def _of_texts(values: Values) -> Moments | None:
    texts = [text.strip() for text in values.texts[values.present].tolist()]
    if not any(_is_written(text) for text in texts[:_TRIED]):
        return None
    if sum(1 for text in texts if _ISO.fullmatch(text)) == len(texts):
        moments = pd.to_datetime(pd.Series(texts), format="ISO8601", utc=True, errors="coerce")
        return Moments(what=f"dates such as {texts[0]}", is_sortable=not moments.isna().any())
    if sum(map(_is_written, texts)) < _MOSTLY * len(texts):
        return None
    day_first = tells_day_first(texts)
    unlike = [text for text in texts if as_iso(text, day_first=day_first is not False) == text]
    is_sortable = all(map(_ISO.fullmatch, unlike))
    is_ambiguous = is_sortable and day_first is None and any(map(is_open, texts))
    return Moments(
        what=f"dates such as {texts[0]}", is_sortable=is_sortable, is_read=bool(date_order(texts)), is_open=is_ambiguous
    )


def _is_written(text: str) -> bool:
    return bool(_ISO.fullmatch(text) or _OTHERS.fullmatch(text))


def _of_numbers(values: Values) -> Moments | None:
    profile, words = values.profile, set(words_of(values.name))
    if not profile.is_whole or profile.is_bool or values.numbers is None:
        return None
    if _YEARS[0] <= profile.min and profile.max <= _YEARS[1] and words & _YEAR_WORDS:
        if values.distinct < _FEWEST_YEARS:
            return None
        return Moments(what=f"years from {profile.min:.0f} to {profile.max:.0f}", is_sortable=True)
    numbers = values.numbers[values.present]
    if profile.min > 10_000_000 and profile.max < 100_000_000 and _are_days(numbers):
        return Moments(what=f"days written as numbers, such as {numbers[0]:.0f}", is_sortable=True)
    for unit, name in _UNITS.items():
        if _SECONDS[0] * unit <= profile.min and profile.max <= _SECONDS[1] * unit:
            is_counted = profile.max - profile.min < max(profile.rows, _SHORTEST_S * unit)  # so are large ids
            is_sorted = not is_counted and bool((np.diff(numbers) >= 0).all())
            if is_sorted or words & _TIME_WORDS:
                first = pd.Timestamp(int(profile.min / unit), unit="s").date()
                return Moments(what=f"{name} since 1970, from {first} on", is_sortable=True)
    return None


def _are_days(numbers: NDArray[np.float64]) -> bool:
    years, rest = np.divmod(numbers, 10_000)
    months, days = np.divmod(rest, 100)
    within = (years >= _YEARS[0]) & (years <= _YEARS[1]) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
    return bool(within.all())


def _ranks(texts: Column) -> NDArray[np.float64]:
    day_first = tells_day_first(texts)
    return np.asarray(pd.Series([as_iso(text, day_first=day_first) for text in texts]).rank(), np.float64)


def _order(values: Values) -> str:
    known = (_ranks(values.texts) if values.numbers is None else values.numbers)[values.present]
    return ", in the order of the file" if len(known) > 2 and (np.diff(known) >= 0).all() else ""


_: type[Check] = MomentColumns
