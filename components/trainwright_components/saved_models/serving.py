"""What a person can say about serving: whether, and where the versions are. Evaluation looks for the champion there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from trainwright_components.settings import read_settings


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """Whether and where a model is served.

    Args:
        enabled: Whether to serve a blessed model.
        base_path: The folder of the model's versions, where evaluation finds the champion; empty for this
            machine's own.
    """

    enabled: bool = True
    base_path: str = ""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from untyped values.

        Raises:
            InvalidSetting: An unknown name, or a value of the wrong type.
        """
        return read_settings(cls, values, where="serving")
