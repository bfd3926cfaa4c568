"""Labels of several values per row: what columns make together, what a text holds, and how a row of them is stored."""

from collections.abc import Mapping, Sequence

import numpy as np

from trainwright_components.datasets.chunks import Chunk, Column, as_text, number_text
from trainwright_components.datasets.profile import ColumnProfile
from trainwright_components.datasets.schema import Label
from trainwright_components.errors import InvalidData
from trainwright_components.hints import did_you_mean

JOINED_NAME = "labels"
_ANSWERS = {"0": 0, "false": 0, "no": 0, "1": 1, "true": 1, "yes": 1}
_WORDS = "0 and 1, true and false, or yes and no"
_LISTED = 10
_EXACT_DIGITS = 15  # of an integer that is a float


def class_text(text: str) -> str:
    """The one spelling of an integer as a class name: `1` for `1.0` too; other texts, and long ids, as they are."""
    if len(text) > _EXACT_DIGITS and text.lstrip("-").isdecimal():
        return text
    try:
        return number_text(float(text))
    except ValueError:
        return text


def join_columns(columns: Mapping[str, ColumnProfile], *, taken: Sequence[str], task: str, source: str) -> Label:
    """The label of several `columns`: multilabel where all hold yes and no, numbers where all are numbers.

    Args:
        columns: Each without a missing value.
        taken: Names of columns, of which the label gets none.
        task: As `Roles.task`.
        source: Of the columns, for messages.

    Raises:
        InvalidData: They are neither, or one is the same in all rows.
    """
    name = JOINED_NAME
    while name in taken:
        name += "_"
    names = tuple(columns)
    unfit = [each for each, column in columns.items() if not _is_yes_or_no(column)]
    if not unfit and task != "regression":
        if constant := [each for each, column in columns.items() if len(_answers(column)) < 2]:
            raise InvalidData(
                f"{'label' if len(constant) == 1 else 'each of the labels'} {_listing(constant)} has one value in all "
                "rows; there is nothing to learn, leave it out of data.labels"
            )
        return _multilabel(name, names, is_joined=True)
    if task in ("classification", "multilabel"):
        raise InvalidData(
            f"label {unfit[0]!r} of {source} {_held(columns[unfit[0]])}; a classifier of several labels needs {_WORDS} "
            "in each"
        )
    for each, column in columns.items():
        if not column.is_numeric or column.shape:
            needed = "numbers, for regression" if task == "regression" else f"numbers in all, or {_WORDS} in all"
            raise InvalidData(
                f"label {each!r} of {source} {_held(column)}; the columns of data.labels have to hold {needed}; leave "
                "it out, or predict it alone with label"
            )
        if column.first_infinite:
            raise InvalidData(f"{column.first_infinite}: label {each!r} is infinite; remove the row")
    return Label(name=name, kind="number", dtype="float32", shape=(len(names),), value_names=names, is_joined=True)


def label_of_vectors(name: str, column: ColumnProfile, *, source: str) -> Label:
    """The multilabel of one column that holds a vector of 0 and 1 in each row.

    Raises:
        InvalidData: It holds something else.
    """
    shape = column.shape or ()
    if len(shape) != 1 or not (column.is_numeric and column.is_whole and column.min >= 0 and column.max <= 1):
        raise InvalidData(
            f"label {name!r} of {source} cannot be multilabel: it needs several columns in data.labels, vectors of 0 "
            "and 1, or texts with data.label_separator between labels"
        )
    return _multilabel(name, tuple(f"{name}_{index}" for index in range(shape[0])))


def label_of_texts(name: str, column: ColumnProfile, separator: str) -> Label:
    """The multilabel of a column of texts such as `a|b`; a row without a text has no label.

    Raises:
        InvalidData: The texts are too many, or hold fewer than two labels.
    """
    if column.values is None:
        raise InvalidData(
            f"label {name!r} has too many different texts for data.label_separator; give a column per label in "
            "data.labels"
        )
    found = sorted({label for text in column.values for label in split_labels(text, separator)})
    if len(found) < 2:
        raise InvalidData(f"label {name!r} holds {len(found)} labels with {separator!r} between them, not two or more")
    return _multilabel(name, tuple(found), separator=separator)


def split_labels(text: str, separator: str) -> list[str]:
    """The labels in a text."""
    return [label for part in text.split(separator) if (label := part.strip())]


def encode_joined(chunk: Chunk, label: Label) -> Column:
    """Answers of 0 and 1 of a multilabel, `(rows, labels)` int64.

    Raises:
        InvalidData: A value is none; says file, row and column.
    """
    if label.separator:
        return _encode_texts(chunk, label)
    if not label.is_joined:
        return chunk.column(label.name).astype(np.int64)
    return np.stack([_encode_answers(chunk, name) for name in label.columns], axis=1)


def unknown_answers(column: ColumnProfile, label: Label) -> list[str]:
    """The values of a column that the multilabel `label` does not know, sorted."""
    if column.values is None:
        is_fit = column.shape == label.shape and column.is_whole and 0 <= column.min <= column.max <= 1
        return [] if is_fit else [_held(column)]
    if label.separator:
        found = {each for text in column.values for each in split_labels(text, label.separator)}
        return sorted(found - set(label.value_names))
    return sorted(text for text in column.values if _answer(text) is None)


def _encode_answers(chunk: Chunk, name: str) -> Column:
    texts = as_text(chunk.column(name))
    answers = [_answer(text) for text in texts]
    if None in answers:
        row = answers.index(None)
        raise InvalidData(
            f"{chunk.place(row)}: label {name!r} is {texts[row]!r}, but has to be one of {', '.join(_ANSWERS)}"
        )
    return np.array(answers, np.int64)


def _encode_texts(chunk: Chunk, label: Label) -> Column:
    places = {name: place for place, name in enumerate(label.value_names)}
    encoded = np.zeros((chunk.rows, len(places)), np.int64)
    for row, text in enumerate(as_text(chunk.column(label.name))):
        for each in split_labels(text, label.separator):
            if each not in places:
                raise InvalidData(
                    f"{chunk.place(row)}: {each!r} is no label of {label.name!r}{did_you_mean(each, label.value_names)}"
                )
            encoded[row, places[each]] = 1
    return encoded


def _multilabel(name: str, values: tuple[str, ...], *, is_joined: bool = False, separator: str = "") -> Label:
    return Label(
        name=name,
        kind="multilabel",
        dtype="int64",
        shape=(len(values),),
        value_names=values,
        is_joined=is_joined,
        separator=separator,
    )


def _answer(text: str) -> int | None:
    return _ANSWERS.get(class_text(text).lower())


def _answers(column: ColumnProfile) -> set[int | None]:
    return {_answer(text) for text in column.values or ()}


def _is_yes_or_no(column: ColumnProfile) -> bool:
    return not column.shape and column.values is not None and None not in _answers(column)


def _held(column: ColumnProfile) -> str:
    if column.shape:
        return "holds arrays"
    if column.is_numeric:
        return f"holds numbers from {column.min:g} to {column.max:g}"
    place, text = column.not_a_number or ("", "bytes")
    odd = next((each for each in column.values or () if _answer(each) is None), text)
    return f"holds {odd!r}" + (f" ({place})" if odd == text else "")


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more
