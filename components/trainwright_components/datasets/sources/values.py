"""How the values of a column of text are written: decimal comma, thousands, currency, percent, what means missing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from trainwright_components.datasets.chunks import MISSING_TEXTS, Column, object_column
from trainwright_components.settings import check_choice

STRAY_CHOICES = ("error", "missing")
_DECIMALS, _THOUSANDS = ("", ".", ","), ("", ",", ".", " ", "'")
MOSTLY = 0.99  # the share of numbers from which on other words in a column are strays
_SIGNS = "$€£¥₹"
_ALSO_MISSING = frozenset({"-", "--", ".", "None", "none"})  # in columns of numbers, where they are no values
_CODE = re.compile(r"[A-Z]{2,3}")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """How numbers are written.

    Args:
        name: For people.
        pattern: What such a number looks like, without signs of currency.
        removed: Characters to leave out.
        decimal: What stands for the decimal point.
    """

    name: str
    pattern: str
    removed: str = ""
    decimal: str = "."

    def matching(self, *, with_signs: bool) -> re.Pattern[str]:
        """Numbers like this, with signs of currency or percent around them where there are such."""
        signs = (rf"[{_SIGNS}]?\s?", rf"\s?[{_SIGNS}%]?") if with_signs else ("", "")
        return re.compile(rf"[+-]?{signs[0]}[+-]?(?:{self.pattern}){signs[1]}")


_EXPONENT = r"(?:[eE][+-]?\d+)?"
PLAIN = NumberFormat(name="plain", pattern=rf"(?:\d+\.?\d*|\.\d+){_EXPONENT}")
_COMMA = NumberFormat(name="with a decimal comma", pattern=rf"(?:\d+(?:,\d*)?|,\d+){_EXPONENT}", decimal=",")
_COMMA_AND_DOTS = NumberFormat(
    name="with a decimal comma and dots between thousands",
    pattern=r"\d{1,3}(?:\.\d{3})*(?:,\d+)?",
    removed=".",
    decimal=",",
)
_COMMAS = NumberFormat(name="with commas between thousands", pattern=r"\d{1,3}(?:,\d{3})*(?:\.\d+)?", removed=",")
_BLANKS = NumberFormat(
    name="with blanks between thousands",
    pattern=r"\d{1,3}(?:[ \u00a0\u202f']\d{3})*(?:\.\d+)?",
    removed=" \u00a0\u202f'",
)
_BLANKS_AND_COMMA = NumberFormat(
    name="with blanks between thousands and a decimal comma",
    pattern=r"\d{1,3}(?:[ \u00a0\u202f']\d{3})*(?:,\d+)?",
    removed=" \u00a0\u202f'",
    decimal=",",
)
_FORMATS = {each.name: each for each in (PLAIN, _COMMA, _COMMA_AND_DOTS, _COMMAS, _BLANKS, _BLANKS_AND_COMMA)}

_LINE = rf"(?:[+-]?[+-]?(?:{PLAIN.pattern}))?+"
_PLAIN_LINES = re.compile(rf"{_LINE}(?:\n{_LINE})*+")


@dataclass(frozen=True, kw_only=True)
class ValueOptions:
    """What a person says about values; empty for what is to be found.

    Args:
        decimal: The decimal sign of numbers, `.` or `,`.
        thousands: What stands between thousands.
        missing: Texts that mean missing in every column, in place of those that are found.
        stray: What to do with single words in a column of numbers: refuse them, or count them as missing.
        texts: Columns that hold no numbers, whatever they look like.
        keeps_strays: Whether such words stay what they are, for who compares them with a schema.
    """

    decimal: str = ""
    thousands: str = ""
    missing: tuple[str, ...] | None = None
    stray: str = "error"
    texts: frozenset[str] = frozenset()
    keeps_strays: bool = False

    def __post_init__(self) -> None:
        check_choice(self.decimal, _DECIMALS, where="data.decimal")
        check_choice(self.thousands, _THOUSANDS, where="data.thousands")
        check_choice(self.stray, STRAY_CHOICES, where="data.stray")

    def allows(self, number_format: NumberFormat) -> bool:
        """Whether numbers may be written so."""
        is_decimal = self.decimal in ("", number_format.decimal)
        return is_decimal and (not self.thousands or self.thousands in number_format.removed)

    @property
    def missing_texts(self) -> frozenset[str] | None:
        """What means missing in every column; None where that is to be found."""
        return None if self.missing is None else frozenset({"", *self.missing})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the values of one column are read.

    Args:
        format: Of its numbers; none for texts.
        missing: Texts that mean missing.
        with_signs: Whether numbers have signs of currency or percent.
    """

    format: NumberFormat | None = None
    missing: frozenset[str] = MISSING_TEXTS
    with_signs: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """As JSON holds it; the missing texts are left out where they are those that nobody chose."""
        values: dict[str, Any] = {"numbers": self.format.name, "with_signs": self.with_signs} if self.format else {}
        if self.missing != self._usual_missing(is_number=self.format is not None):
            values["missing"] = sorted(self.missing)
        return values

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave."""
        number_format = _FORMATS[values["numbers"]] if "numbers" in values else None
        missing = values.get("missing")
        return cls(
            format=number_format,
            missing=cls._usual_missing(is_number=number_format is not None) if missing is None else frozenset(missing),
            with_signs=values.get("with_signs", False),
        )

    @staticmethod
    def _usual_missing(*, is_number: bool) -> frozenset[str]:
        return MISSING_TEXTS | _ALSO_MISSING if is_number else MISSING_TEXTS

    def fits(self, values: Sequence[str]) -> bool:
        """Whether nearly all of `values` are written so."""
        if self.format is None:
            return True
        present = [value for value in values if value not in self.missing]
        return _share_matching(present, self.format, with_signs=self.with_signs) >= MOSTLY

    @property
    def is_plain(self) -> bool:
        """Whether these are numbers as a program writes them."""
        return self.format is PLAIN and not self.with_signs

    def plain(self, values: Column) -> Column:
        """`values` with plain numbers, and the empty string where one is missing."""
        texts = values.tolist()
        if self.format is None or self.is_plain:
            if (self.missing - {""}).isdisjoint(texts):
                return values
            return object_column(["" if text in self.missing else text for text in texts])
        matching = self.format.matching(with_signs=self.with_signs)
        table = str.maketrans({**dict.fromkeys(f"{self.format.removed}{_SIGNS}% \u00a0"), self.format.decimal: "."})
        return object_column(
            [
                "" if text in self.missing else text.translate(table) if matching.fullmatch(text) else text
                for text in texts
            ]
        )


def find_readings(
    sample: Mapping[str, Sequence[str]],
    options: ValueOptions,
    *,
    delimiter: str,
    known: Mapping[str, Reading] | None = None,
) -> tuple[dict[str, Reading], list[str]]:
    """How each column is read, and what is unlike plain numbers and texts, a sentence each.

    Args:
        sample: Values of each column.
        options: What a person says, which comes before what is known.
        delimiter: Between the values of the file.
        known: How columns like these were read; where the values do not fit it, how they are written is found.
    """
    readings, evidence = {}, []
    for name, values in sample.items():
        earlier = _allowed((known or {}).get(name), options)
        if earlier and earlier.fits(values):
            readings[name] = earlier
            continue
        reading, said = _find_reading(name, values, options, delimiter=delimiter)
        if earlier and reading.format is None:  # not all are numbers: who needs numbers says which are not
            reading, said = earlier, []
        elif earlier:
            reading = replace(reading, missing=reading.missing | earlier.missing)
        readings[name] = reading
        evidence += said
    return readings, evidence


def _allowed(earlier: Reading | None, options: ValueOptions) -> Reading | None:
    """What is known of a column, as far as `options` do not say otherwise."""
    if earlier is None or (earlier.format and not options.allows(earlier.format)):
        return None
    return earlier if options.missing_texts is None else replace(earlier, missing=options.missing_texts)


def _find_reading(
    name: str, values: Sequence[str], options: ValueOptions, *, delimiter: str
) -> tuple[Reading, list[str]]:
    given = options.missing_texts
    tokens = MISSING_TEXTS | _ALSO_MISSING if given is None else given
    present = [value for value in values if value not in tokens]
    found = None if name in options.texts else _find_format(present, options, delimiter=delimiter)
    if found is None:
        missing, said = _missing_in_texts(name, values) if given is None else (given, [])
        return Reading(missing=missing), said
    number_format, with_signs = found
    said = []
    odd = sorted({value for value in values if value in _ALSO_MISSING})
    if odd and given is None:
        said.append(f"{name!r}: {', '.join(odd)} means missing among its numbers")
    if number_format is not PLAIN or with_signs:
        example = next((v for v in present if not PLAIN.matching(with_signs=False).fullmatch(v)), present[0])
        what = number_format.name if number_format is not PLAIN else "with signs of currency or percent"
        said.append(f"{name!r}: numbers {what}, such as {example}")
    return Reading(format=number_format, missing=tokens, with_signs=with_signs), said


def _find_format(present: Sequence[str], options: ValueOptions, *, delimiter: str) -> tuple[NumberFormat, bool] | None:
    if not present:
        return None
    candidates = [PLAIN, _COMMAS, _COMMA, _COMMA_AND_DOTS, _BLANKS, _BLANKS_AND_COMMA]
    if delimiter != ",":  # with commas between values, one inside a number is more likely a mark of thousands
        candidates = [PLAIN, _COMMA, _COMMA_AND_DOTS, _COMMAS, _BLANKS_AND_COMMA, _BLANKS]
    for with_signs in (False, True):
        for each in filter(options.allows, candidates):
            if _share_matching(present, each, with_signs=with_signs) >= MOSTLY:
                return each, with_signs
    return None


def _share_matching(present: Sequence[str], number_format: NumberFormat, *, with_signs: bool) -> float:
    matching = number_format.matching(with_signs=with_signs)
    return sum(matching.fullmatch(value) is not None for value in present) / len(present) if present else 1.0


def _missing_in_texts(name: str, values: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """`NA` is a value where all others are codes like it, such as those of countries."""
    others = {value for value in values if value and value not in MISSING_TEXTS}
    if "NA" in values and len(others) > 1 and all(_CODE.fullmatch(value) for value in others):
        shown = ", ".join(sorted(others)[:3])
        return MISSING_TEXTS - {"NA"}, [f"{name!r}: NA is a value there, since all others are codes like it ({shown})"]
    return MISSING_TEXTS, []


class Strays:
    """Words in columns of numbers: how many, and where the first are."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._shown: dict[str, list[str]] = {}

    def take(self, name: str, values: Column, *, first_row: int) -> Column:
        """`values` with the empty string for each word, which is noted."""
        texts = values.tolist()
        lines = "\n".join(texts)
        if _PLAIN_LINES.fullmatch(lines) and lines.count("\n") < len(texts):  # nearly always, and in one call
            return values
        matching = PLAIN.matching(with_signs=False)
        wrong = [row for row, text in enumerate(texts) if text and not matching.fullmatch(text)]
        if not wrong:
            return values
        self._counts[name] = self._counts.get(name, 0) + len(wrong)
        shown = self._shown.setdefault(name, [])
        shown += [f"{texts[row]!r} in row {first_row + row}" for row in wrong[: _SHOWN - len(shown)]]
        cleaned = values.copy()
        cleaned[wrong] = ""
        return cleaned

    def describe(self) -> list[str]:
        """A sentence for each column that has some."""
        return [
            f"column {name!r} holds numbers but for {count:,} values: {', '.join(self._shown[name])}"
            + (" ..." if count > len(self._shown[name]) else "")
            for name, count in self._counts.items()
        ]
