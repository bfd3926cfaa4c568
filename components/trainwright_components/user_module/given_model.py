"""What a trained model that a user brings takes and gives. Imports no TensorFlow; `given_files` reads one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class GivenTensor:
    """An input or an output.

    Args:
        shape: Of one row; None where any size will do.
        dtype: As TensorFlow names it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.dtype} of shape {self.shape})"


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A trained model in a file or a folder.

    Args:
        is_saved_model: Whether it is a SavedModel's signature `serving_default`, else one of Keras.
        takes_mapping: Whether it takes its inputs by name, also a single one.
        puts_out_probabilities: Whether the outputs of some random rows could be probabilities.
    """

    path: Path
    is_saved_model: bool
    inputs: tuple[GivenTensor, ...]
    outputs: tuple[GivenTensor, ...]
    takes_mapping: bool
    puts_out_probabilities: bool
