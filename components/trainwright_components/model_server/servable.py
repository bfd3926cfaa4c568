"""What is served: a servable's identity, its states, and the contracts of its content and of what loads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from trainwright_components.model_server.status import Code

Tensors = Mapping[str, Any]
"""Tensors by alias of a signature: NumPy arrays, strings as object arrays of bytes."""


@dataclass(frozen=True, order=True)
class ServableId:
    """One version of one model."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


class State(Enum):
    """States of a version; the values are those of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class ServableState:
    """Where a version stands, and why if it failed."""

    id: ServableId
    state: State
    error_code: Code = Code.OK
    error_message: str = ""


@dataclass(frozen=True, kw_only=True)
class OutputOf:
    """One output of one signature."""

    signature: str
    alias: str


class Servable(Protocol):
    """The loaded content of one version."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """SignatureDef by name."""

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """Compute `outputs` of a signature, in the order asked for.

        Args:
            signature_name: A name in `signatures`.
            inputs: One array per input alias.
            outputs: Output aliases of the signature.

        Raises:
            StatusError: The computation failed.
        """

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """Compute outputs of several signatures that share their input tensors, in one run.

        Args:
            inputs: One array per input alias, the same in each signature.
            outputs: What to compute; at least one.

        Raises:
            StatusError: The computation failed.
        """

    def is_quick(self, signature_name: str) -> bool:
        """Whether a computation is known to take less time than to hand it to another thread and back."""

    def close(self) -> None:
        """Give the memory back; no run is under way and none follows."""


class Loader(Protocol):
    """Make a servable, ready for its first request."""

    def load(self, servable_id: ServableId, path: Path) -> Servable:
        """Load what is in `path`.

        Raises:
            StatusError: It cannot be loaded, or a warm-up record fails.
        """
