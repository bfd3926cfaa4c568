"""Files that are given split by split, read as one source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainwright_components.datasets.chunks import Chunk, Source, SourceTraits
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.datasets.sources.reading import KnownTable, TableReading
from trainwright_components.errors import InvalidData
from trainwright_components.prepare_data.settings import PrepareSettings


class GivenFiles:
    """The sources of the splits one after the other; every chunk says its split."""

    def __init__(self, parts: Mapping[str, Source]) -> None:
        self.parts = parts
        train = parts["train"].traits
        for split, part in parts.items():
            _check_same_columns(split, part.traits, train)

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        all_traits = [part.traits for part in self.parts.values()]
        size = sum(traits.size_bytes for traits in all_traits)
        files = tuple(file for traits in all_traits for file in traits.files)
        read_from = tuple(file for traits in all_traits for file in traits.read_from)
        return replace(all_traits[0], is_split=True, size_bytes=size, files=files, read_from=read_from)

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start."""
        for split, part in self.parts.items():
            for chunk in part.chunks():
                yield replace(chunk, split=split)


def open_rows(source: str, settings: PrepareSettings, expected: Schema | None = None) -> Source:
    """The rows of `source`, and of the files that `settings` give for other splits, which are read as it is.

    It is read itself as what `expected` was made of, where there is that.
    """
    others = {"validation": settings.validation_source, "test": settings.test_source}
    options: dict[str, Any] = {"format_name": settings.format, "dialect": settings.dialect, "values": settings.values}
    train = open_source(source, known=KnownTable.of_schema(expected) if expected else None, **options)
    known = _known_from(train.traits)
    parts = {split: open_source(path, known=known, **options) for split, path in others.items() if path}
    return GivenFiles({"train": train, **parts}) if parts else train


def _known_from(traits: SourceTraits) -> KnownTable | None:
    if not traits.reading:
        return None
    return KnownTable(needed=traits.columns, reading=TableReading.from_mapping(traits.reading))


def files_by_split(source: Source) -> Mapping[str, Sequence[str]]:
    """The TFRecord files of each split that is given; everything is `train` when none is."""
    parts = source.parts if isinstance(source, GivenFiles) else {"train": source}
    return {split: part.traits.files for split, part in parts.items()}


def _check_same_columns(split: str, traits: SourceTraits, train: SourceTraits) -> None:
    absent = [name for name in train.columns if name not in traits.columns]
    if absent and traits.columns:
        raise InvalidData(
            f"{split}_source {traits.name} lacks columns that {train.name} has: {', '.join(absent)}; "
            "give files with the same columns"
        )


_: type[Source] = GivenFiles
