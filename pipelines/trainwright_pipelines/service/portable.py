"""Text without what belongs to this machine alone: its paths, and secrets."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from trainwright_pipelines.engine.masking import MASK, Mask
from trainwright_pipelines.engine.provenance import blank_secrets, is_sensitive

BLANK = MASK

_ABSOLUTE = re.compile(r"(?:file://|(?<![\w.:/<~-]))(/[^\s\"'`()\[\]{}<>|,;:=&]+)")
_EVERYWHERE = ("bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr")  # the same on all machines

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Portable:
    """Rewrites texts.

    Args:
        places: What to write for folders of this machine, longest first by itself; others keep their last part.
        secrets: Hides values that may not be told.
    """

    places: Mapping[str, str]
    secrets: Mask = field(default_factory=lambda: Mask(()))

    def text(self, text: str) -> str:
        """What people wrote or read, without paths, secrets, and what stands behind a name that secrets go by."""
        return blank_secrets(self.content(text))

    def content(self, text: str) -> str:
        """The content of an artifact, where `mask_token` is no secret, with names for places and no secret."""
        for place in sorted(self.places, key=len, reverse=True):
            text = text.replace(f"{place}/", f"{self.places[place]}/").replace(place, self.places[place])
        return _ABSOLUTE.sub(_last_part, self.secrets.text(text))

    def value(self, value: Any, *, name: str = "") -> Any:
        """`value` with all texts inside it rewritten; what a sensitive name stands for is blanked."""
        if is_sensitive(name) and isinstance(value, str) and value:
            return BLANK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Path):
            return Path(self.text(str(value)))
        if isinstance(value, Mapping):
            return {self.text(key): self.value(each, name=key) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(each) for each in value)
        return self.record(value) if is_dataclass(value) and not isinstance(value, type) else value

    def record(self, record: T) -> T:
        """A record of the store with all texts inside it rewritten."""
        changed = {each.name: self.value(getattr(record, each.name)) for each in fields(record)}  # type: ignore[arg-type]
        return replace(record, **changed)  # type: ignore[type-var]


@functools.cache
def _is_here(top: str) -> bool:
    return Path("/", top).exists()


def _last_part(match: re.Match[str]) -> str:
    path = Path(match[1])
    top = path.parts[1] if len(path.parts) > 1 else ""
    if not top or top in _EVERYWHERE or not _is_here(top):  # an address without its host looks so too
        return match[0]
    return f"…/{path.name}"
