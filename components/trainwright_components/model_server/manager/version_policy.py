"""Which of the versions on disk are aspired: the latest ones, all, or named ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


class VersionPolicy(Protocol):
    """Choose versions to serve from those that exist."""

    def choose(self, versions: Iterable[int]) -> list[int]:
        """The versions to serve, in any order."""


@dataclass(frozen=True)
class Latest:
    """The highest `num_versions` versions."""

    num_versions: int = 1

    def choose(self, versions: Iterable[int]) -> list[int]:
        """See `VersionPolicy.choose`."""
        return sorted(versions, reverse=True)[: self.num_versions]


@dataclass(frozen=True)
class All:
    """Every version."""

    def choose(self, versions: Iterable[int]) -> list[int]:
        """See `VersionPolicy.choose`."""
        return list(versions)


@dataclass(frozen=True)
class Specific:
    """The named versions, as far as they exist."""

    versions: frozenset[int]

    def choose(self, versions: Iterable[int]) -> list[int]:
        """See `VersionPolicy.choose`."""
        return [version for version in versions if version in self.versions]


if TYPE_CHECKING:
    _: tuple[type[VersionPolicy], ...] = (Latest, All, Specific)
