"""What a person said already, on which advice builds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainwright_components.datasets.verdicts.verdict import Advice


@dataclass(frozen=True, kw_only=True)
class Given:
    """Settings that a person gave.

    Args:
        exclude: `data.exclude`.
        kinds: `data.kinds`.
        way_to_split: The setting that says how rows are split, of which there can be one; empty for none.
        missing: `data.missing`.
        batch_size: `training.batch_size`, where that is known.
        has_class_weights: Whether there are `training.class_weights`.
    """

    exclude: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    way_to_split: str = ""
    missing: tuple[str, ...] | None = None
    batch_size: int | None = None
    has_class_weights: bool = False

    def without(self, name: str, text: str = "leave it out") -> Advice:
        """Advice to make `name` no feature."""
        return Advice(text=text, settings={"data.exclude": [*self.exclude, name]})

    def of_kind(self, name: str, kind: str, text: str) -> Advice:
        """Advice to say the kind of `name`."""
        return Advice(text=text, settings={"data.kinds": {**self.kinds, name: kind}})
