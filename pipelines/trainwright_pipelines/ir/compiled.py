"""A pipeline as the compiler wrote it: its documents, and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trainwright_pipelines.ir.parsing import parse_documents
from trainwright_pipelines.ir.spec import Pipeline


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

    @cached_property
    def pipeline(self) -> Pipeline:
        """What the documents say.

        Raises:
            InvalidPipeline: They are malformed, or refer to something that they do not hold.
        """
        return parse_documents(self.spec, self.platform)

    def to_yaml(self) -> str:
        """The documents as the compiler would write them."""
        import yaml

        documents = [dict(self.spec), *([dict(self.platform)] if self.platform else [])]
        return str(yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
