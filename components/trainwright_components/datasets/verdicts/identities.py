"""Columns that name or count the rows: nothing that a model could learn from, and much that it could learn by heart."""

from collections.abc import Collection, Iterator
from typing import ClassVar

from trainwright_components.datasets.sources.image_folder import IMAGE_SUFFIXES
from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence, Values
from trainwright_components.datasets.verdicts.moments import find_moments
from trainwright_components.datasets.verdicts.names import has_name_of_an_id
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

FEWEST_ROWS, FEWEST_SHUFFLED_ROWS = 10, 20
# Twelve times as many pairs of rows as there are numbers: without a repeated one by chance, less than once in 100,000
_PAIRS_PER_NUMBER = 12
_LONGEST_NAME = 64


class Identities:
    """Row indices and unique ids: every row has another value, and it says which row it is."""

    kinds: ClassVar[tuple[str, ...]] = ("row index", "unique id")

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        for name, values in evidence.columns.items():
            if name not in evidence.given.kinds and (found := _identify(values)):
                kind, finding = found
                is_left_out = name in evidence.left_out
                keep = evidence.given.of_kind(name, "numeric" if values.numbers is not None else "text", "to keep it")
                leave = evidence.given.without(name)
                advice = [keep] if is_left_out else [leave]
                if kind == "row index" and not evidence.given.way_to_split and values.numbers is not None:
                    advice.append(
                        Advice(text="if the rows follow each other in time", settings={"data.time_column": name})
                    )
                yield Verdict(
                    kind=kind,
                    columns=(name,),
                    finding=finding + (", and is not a feature" if is_left_out else ""),
                    evidence={"rows": evidence.rows, **_range(values)},
                    advice=tuple(advice),
                    is_left_out=is_left_out,
                )


def find_identities(evidence: Evidence) -> tuple[str, ...]:
    """The columns that are no features; none where nothing else would be left."""
    found = tuple(verdict.columns[0] for verdict in Identities().judge(evidence))
    return found if len(found) < len(evidence.columns) else ()


def _identify(values: Values) -> tuple[str, str] | None:
    profile, numbers = values.profile, values.numbers
    if profile.rows < FEWEST_ROWS or profile.missing or not (profile.is_whole or values.is_unique):
        return None
    if profile.is_bool or profile.first_infinite or find_moments(values):
        return None
    if numbers is None:
        return _identify_texts(values) if values.is_unique else None
    if not profile.is_whole:
        return None
    least, greatest, rows = profile.min, profile.max, profile.rows
    offset = numbers - values.row_numbers
    if (offset == offset[0]).all():
        return "row index", f"it counts the {rows:,} rows in the order of the file, from {least:.0f} to {greatest:.0f}"
    if not values.is_unique:
        return None
    if greatest - least == rows - 1 and rows >= FEWEST_SHUFFLED_ROWS and greatest < 2**53:
        return "row index", f"it counts the {rows:,} rows from {least:.0f} to {greatest:.0f}, in some order"
    if max(abs(least), abs(greatest)) >= 2**53:
        return "unique id", f"{_each(values)} has another integer, of up to {greatest:.3g}"
    span, seen = greatest - least + 1, len(numbers)
    if rows >= FEWEST_SHUFFLED_ROWS and seen**2 / 2 >= _PAIRS_PER_NUMBER * span:
        return "unique id", f"{_each(values)} has another integer from {least:.0f} to {greatest:.0f}"
    if has_name_of_an_id(values.name):
        return "unique id", f"its name says so, and {_each(values)} has another integer"
    return None


def _identify_texts(values: Values) -> tuple[str, str] | None:
    texts = values.texts.tolist()
    if all(text.lower().endswith(IMAGE_SUFFIXES) for text in texts) or not _are_names(texts):
        return None
    shown = ", ".join(map(repr, texts[:2]))
    return "unique id", f"{_each(values)} has another name, such as {shown}"


def _are_names(texts: Collection[str]) -> bool:
    single = sum(1 for text in texts if len(text) <= _LONGEST_NAME and len(text.split()) == 1)
    return single >= 0.95 * len(texts)


def _each(values: Values) -> str:
    """All rows where they were counted, else those of the sample."""
    known = values.profile.values is not None
    return (
        f"each of the {values.profile.rows:,} rows" if known else f"each of {len(values.codes):,} rows drawn by chance"
    )


def _range(values: Values) -> dict[str, float]:
    return {} if values.numbers is None else {"min": float(values.profile.min), "max": float(values.profile.max)}


_: type[Check] = Identities
