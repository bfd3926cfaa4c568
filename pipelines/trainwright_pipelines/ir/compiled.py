"""A pipeline as the compiler wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CompiledPipeline:
    """A pipeline as the compiler wrote it.

    Args:
        name: The pipeline's KFP name, with hyphens.
        spec: The PipelineSpec: the first YAML document.
        platform: The PlatformSpec: the second document; empty when there is none.
    """

    name: str
    spec: Mapping[str, Any]
    platform: Mapping[str, Any] = field(default_factory=dict)

    def to_yaml(self) -> str:
        """The documents as the compiler would write them."""
        import yaml

        documents = [dict(self.spec), *([dict(self.platform)] if self.platform else [])]
        return str(yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
