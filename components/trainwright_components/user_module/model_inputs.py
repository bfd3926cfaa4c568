"""How a model takes its one input, where what it is given has another name. Imports no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_ATTRIBUTE = "trainwright_taken_input"


@dataclass(frozen=True, kw_only=True)
class TakenInput:
    """The one input of a model.

    Args:
        name: What the model calls it; empty when that is not known.
        is_alone: Whether it is a tensor and not the one value of a dictionary.
    """

    name: str
    is_alone: bool

    @classmethod
    def of_model(cls, model: Any, *, is_named_by_user: bool) -> Self | None:
        """What `model` tells, or `note_alone` found out; None if it has several inputs, or says nothing.

        None also for a model that takes a dictionary, if `is_named_by_user`: then both names are the user's own.
        """
        inputs = getattr(model, "inputs", None)
        if not inputs:
            return getattr(model, _ATTRIBUTE, None)
        if len(inputs) != 1:
            return None
        structure = getattr(model, "input", None)  # a Sequential of Keras 3 has none
        if not isinstance(structure, Mapping):
            return cls(name=inputs[0].name, is_alone=True)
        return None if is_named_by_user else cls(name=next(iter(structure)), is_alone=False)

    @classmethod
    def of_record(cls, specs: Any) -> Self | None:
        """From the specs of a trained model's inputs, as its folder has them."""
        if not isinstance(specs, Mapping):
            return None
        if not all(isinstance(part, Mapping) for part in specs.values()):
            return cls(name="", is_alone=True)
        return cls(name=next(iter(specs)), is_alone=False) if len(specs) == 1 else None

    @classmethod
    def note_alone(cls, model: Any) -> None:
        """Keep in mind that `model`, which does not tell, takes a tensor."""
        setattr(model, _ATTRIBUTE, cls(name="", is_alone=True))

    def hand_over(self, given: Any) -> Any:
        """`given` as the model takes it, if it is a dictionary of one value under another name."""
        if not isinstance(given, Mapping) or len(given) != 1 or self.name in given:
            return given
        (value,) = given.values()
        return value if self.is_alone else {self.name: value}
