"""Texts that are dates, with or without a time. A model's graph reads those of ISO 8601; no TensorFlow."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

ISO_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
"""A date of ISO 8601, and a time after `T` or a blank; the same for Python and for RE2, which TensorFlow uses."""
DATE_ORDERS = {
    "year-month-day": (r"^(\d{4})[./-](\d{1,2})[./-](\d{1,2})", r"\1-\2-\3"),
    "day-month-year": (r"^(\d{1,2})[./-](\d{1,2})[./-](\d{4})", r"\3-\2-\1"),
    "month-day-year": (r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})", r"\3-\1-\2"),
}
"""Dates of numbers that a model reads: what begins a text, and how ISO 8601 orders it, for Python and RE2 alike."""
DATE_PADDING = ((r"-(\d)\b", r"-0\1"), (r"T(\d):", r"T0\1:"), (r" (\d):", r" 0\1:"))
"""What is put in place of what, after the order: ISO 8601 has two digits for a day, a month and an hour."""
DAY_FIRST_CHOICES = ("auto", "yes", "no")

_TIME = (
    r"(?:(?:T|,? +)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?"
    r"(?: ?(?P<half>[ap])\.?m\.?)? ?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*"
_NUMBERED = re.compile(
    rf"(?P<one>\d{{1,2}})(?P<sign>[./-])(?P<two>\d{{1,2}})(?P=sign)(?P<year>\d{{4}}|\d{{2}}){_TIME}", re.I
)
WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +)?"
"""What may stand before a date, in any case."""
_CERTAIN = [
    re.compile(WEEKDAY + form + _TIME, re.IGNORECASE)
    for form in (
        r"(?P<year>\d{4})(?P<sign>[./-])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})",
        rf"(?P<day>\d{{1,2}})[ .-]+{_NAME}[ .,-]+(?P<year>\d{{4}}|\d{{2}})",
        rf"{_NAME}[ .-]+(?P<day>\d{{1,2}}),? +(?P<year>\d{{4}})",
        rf"{_NAME}[ .-]+(?P<year>\d{{4}})",
    )
]
_FIRST_YEAR_OF_TWO_DIGITS = 69  # as POSIX's strptime has it: 69 is 1969, 68 is 2068


def read_days(texts: Sequence[str], order: str) -> NDArray[np.float64] | None:
    """The days since 1970-01-01 of dates; None where one of the texts is not a date. Offsets of times are not read.

    Args:
        texts: Such as 2018-12-31 09:30.
        order: Of `DATE_ORDERS`.
    """
    begins, days = re.compile(DATE_ORDERS[order][0]), []
    for text in texts:
        if not begins.match(text):
            return None
        written = text if re.fullmatch(ISO_DATE, text) else ordered(text, order)
        if not re.fullmatch(ISO_DATE, written):
            return None
        days.append(written[:10])
    try:
        return np.array(days, "datetime64[D]").astype(np.float64)
    except ValueError:  # such as the 31st of June
        return None


def date_order(texts: Sequence[str]) -> str:
    """The only one of `DATE_ORDERS` that all texts have; empty where there is none, or more than one."""
    found = [order for order in DATE_ORDERS if texts and read_days(texts, order) is not None]
    return found[0] if len(found) == 1 else ""


def ordered(text: str, order: str) -> str:
    """`text` as ISO 8601 writes it, if it is a date of this order."""
    for pattern, written in (DATE_ORDERS[order], *DATE_PADDING):
        text = re.sub(pattern, written, text)
    return text


def as_iso(text: str, *, day_first: bool | None) -> str:
    """The date of `text` as ISO 8601 writes it, with its time; `text` itself where it is no date that people write.

    Args:
        text: Such as 2018/12/31, 31.12.2018, 12/31/18 11:59 PM, Mon, 31 Dec 2018, December 31, 2018, or Dec 2018, which
            is its first day.
        day_first: Whether 3/4/2018 is in April; None where that is not known, which leaves such dates as they are.
    """
    if re.fullmatch(ISO_DATE, text):
        return text
    if found := _NUMBERED.fullmatch(text):
        is_day_first = found["sign"] == "." or day_first
        if is_day_first is None:
            return text
        day, month = (found["one"], found["two"]) if is_day_first else (found["two"], found["one"])
        return _written(found, day=int(day), month=int(month)) or text
    for form in _CERTAIN:
        if found := form.fullmatch(text):
            parts = found.groupdict()
            month = _MONTHS.index(parts["name"].lower()) + 1 if parts.get("name") else int(parts["month"])
            return _written(found, day=int(parts.get("day") or 1), month=month) or text
    return text


def tells_day_first(texts: Iterable[str]) -> bool | None:
    """Whether dates such as 31/12/2018 begin with the day; None where no text tells, or several contradict."""
    told = set()
    for text in texts:
        found = _NUMBERED.fullmatch(text)
        if found and found["sign"] != "." and (int(found["one"]) > 12) != (int(found["two"]) > 12):
            told.add(int(found["one"]) > 12)
    return told.pop() if len(told) == 1 else None


def is_open(text: str) -> bool:
    """Whether `text` is a date that begins with the day or with the month."""
    found = _NUMBERED.fullmatch(text)
    return bool(found and found["sign"] != ".")


def _written(found: re.Match[str], *, day: int, month: int) -> str:
    """As ISO 8601 writes it; empty for a date or time that there is not."""
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 1900 if year >= _FIRST_YEAR_OF_TWO_DIGITS else 2000
    date = f"{year:04}-{month:02}-{day:02}"
    try:
        np.datetime64(date)
    except ValueError:
        return ""
    if found["hour"] is None:
        return date
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if hour > 23 or int(found["minute"]) > 59 or (half and not 1 <= hour <= 12):
        return ""
    hour = hour % 12 + 12 * (half == "p") if half else hour
    second = f":{found['second']}" if found["second"] else ""
    return f"{date} {hour:02}:{found['minute']}{second}{found['zone'] or ''}"
