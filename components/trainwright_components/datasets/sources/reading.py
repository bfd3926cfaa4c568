"""How text files were read, recorded in the schema of what was made of them, so that later files are read alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.dialect import (
    Dialect,
    DialectOptions,
    Found,
    find_dialect,
    find_encoding,
)
from trainwright_components.datasets.sources.values import Reading
from trainwright_components.errors import InvalidData

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class TableReading:
    """What was found and said about one table.

    Args:
        columns: All of them, in the order of the file.
        stray: What was done with single words in columns of numbers, as `ValueOptions` says it.
    """

    dialect: Dialect
    columns: Mapping[str, Reading]
    stray: str = "error"

    def to_mapping(self) -> dict[str, Any]:
        """As `Schema.reading` holds it."""
        columns = {name: reading.to_mapping() for name, reading in self.columns.items()}
        return {"dialect": self.dialect.to_mapping(), "stray": self.stray, "columns": columns}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave.

        Raises:
            InvalidData: It is something else.
        """
        try:
            return cls(
                dialect=Dialect.from_mapping(values["dialect"]),
                columns={name: Reading.from_mapping(reading) for name, reading in values["columns"].items()},
                stray=values["stray"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidData(f"the schema's reading is damaged: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class KnownTable:
    """What is known about a table before it is looked at.

    Args:
        needed: Columns that it has to have.
        labels: Columns that it may lack, all of them.
        texts: Columns that hold no numbers.
        reading: How tables like it were read.
    """

    needed: tuple[str, ...]
    labels: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()
    reading: TableReading | None = None

    @classmethod
    def of_schema(cls, schema: Schema) -> Self:
        """A table of rows for a model that was trained on `schema`."""
        return cls(
            needed=(*schema.feature_names, *(schema.history.columns if schema.history else ())),
            labels=schema.label.columns if schema.label else (),
            texts=frozenset(each.name for each in schema.features if each.dtype == "string"),
            reading=TableReading.from_mapping(schema.reading) if schema.reading else None,
        )

    @property
    def columns(self) -> Mapping[str, Reading]:
        """How each column was read, of those that are known."""
        return self.reading.columns if self.reading else {}

    @property
    def has_header(self) -> bool:
        """Whether such a table has one, as far as is known."""
        return self.reading is None or self.reading.dialect.has_header

    def names_of(self, width: int) -> tuple[str, ...]:
        """The names of as many columns where no header tells: of all, of all but the labels, or of the needed."""
        names = tuple(self.columns)
        without_labels = tuple(name for name in names if name not in self.labels)
        needed = tuple(name for name in names if name in self.needed)
        return next((each for each in (names, without_labels, needed) if len(each) == width), ())


def find_known(head: bytes, options: DialectOptions, known: KnownTable, *, file: str, is_whole: bool) -> Found:
    """As `find_dialect`, for a file of which much is known: its own header comes first, then how others were read.

    Raises:
        InvalidData: It is empty, no text, or has no column that is needed.
    """
    options = _with_recorded(head, options, known, file=file)
    look = partial(find_dialect, head, file=file, is_whole=is_whole)
    tried = list(_delimiters(options, known))
    if options.header != "no":
        founds = [look(replace(options, delimiter=sign, header="yes")) for sign in tried]
        best = max(founds, key=lambda found: len(set(known.needed).intersection(found.names)))
        if set(known.needed).intersection(best.names):
            return best
    if options.header == "no" or not known.has_header:
        founds = [look(replace(options, delimiter=sign, header="no")) for sign in tried]
        for found in founds:
            if names := known.names_of(len(found.names)):
                return replace(found, names=names)
        raise InvalidData(
            f"{file} has no header and {len(founds[0].names)} values in its first row, where training had "
            f"{len(known.columns)} columns ({_listed(tuple(known.columns))}); give all, all but the label, or a header"
        )
    first = ", ".join(look(replace(options, header="yes")).names)[:60]
    raise InvalidData(
        f"{file}: the first line ({first}) has to name the columns, and has none of {_listed(known.needed)}"
    )


def _with_recorded(head: bytes, options: DialectOptions, known: KnownTable, *, file: str) -> DialectOptions:
    if known.reading is None:
        return options
    recorded = known.reading.dialect
    if not recorded.quote:
        options = replace(options, quote="")
    if options.encoding or "a".encode(recorded.encoding) != b"a":  # those of two bytes are told by marks and zeros
        return options
    try:
        found = find_encoding(head, file=file)
    except InvalidData:
        return replace(options, encoding=recorded.encoding)
    return replace(options, encoding=recorded.encoding if head.isascii() and found == "utf-8-sig" else found)


def _delimiters(options: DialectOptions, known: KnownTable) -> Iterator[str]:
    if not options.delimiter and known.reading:
        yield known.reading.dialect.delimiter
    yield options.delimiter


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
