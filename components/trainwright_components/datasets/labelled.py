"""A source without its rows that lack a label."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from trainwright_components.datasets.chunks import Chunk, Source, SourceTraits, is_missing


class LabelledRows:
    """The rows of `source` whose columns `labels` all have a value.

    Attributes:
        dropped: How many rows had none, in the last reading as far as it came.
    """

    def __init__(self, source: Source, labels: Sequence[str]) -> None:
        self._source, self._labels = source, labels
        self.dropped = 0

    @property
    def traits(self) -> SourceTraits:
        """Those of the source, whose files hold rows that are dropped and cannot be referred to."""
        return replace(self._source.traits, files=())

    def chunks(self) -> Iterator[Chunk]:
        """All rows with a label from the start."""
        self.dropped = 0
        for chunk in self._source.chunks():
            missing = np.any([is_missing(chunk.column(label)) for label in self._labels], axis=0)
            if not missing.any():
                yield chunk
                continue
            self.dropped += int(missing.sum())
            kept = np.flatnonzero(~missing)
            if len(kept):
                yield replace(chunk.taking(kept), kept=kept)


_: type[Source] = LabelledRows
