"""What a family of verdicts is."""

from collections.abc import Iterator
from typing import ClassVar, Protocol

from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.verdict import Verdict


class Check(Protocol):
    """Looks for something that may be wrong."""

    kinds: ClassVar[tuple[str, ...]]
    """The kinds of its verdicts."""

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
