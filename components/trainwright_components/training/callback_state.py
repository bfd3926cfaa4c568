"""What Keras callbacks remember between epochs, such as the patience that is left, so that it survives a restart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLAIN = (bool, int, float, str, type(None))
# Keras' own also change settings as they run (ReduceLROnPlateau turns the sign of min_delta): only these are state.
_STATE_OF_KERAS = ("best", "wait", "cooldown_counter", "best_epoch", "epochs_since_last_save")

States = Mapping[str, Mapping[str, Any]]


def callback_states(callbacks: Sequence[Any]) -> States:
    """The plain attributes of each callback: all of a user's class, those that count of Keras' own."""
    return {name: _state(callback) for name, callback in _by_name(callbacks).items()}


def callback_arrays(callbacks: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The attributes of users' classes that are lists of arrays, such as weights to go back to, by name and place."""
    return {
        f"{name}/{attribute}/{place}": array
        for name, callback in _by_name(callbacks).items()
        for attribute, value in vars(callback).items()
        if not _is_of_keras(callback) and _is_list_of_arrays(value)
        for place, array in enumerate(value)
    }


def restore_callbacks(
    callbacks: Sequence[Any], states: States, arrays: Mapping[str, NDArray[Any]], *, made: States, made_before: States
) -> None:
    """Set what `callback_states` and `callback_arrays` gave; nothing when there are no states.

    What a callback is made with, as `callback_states` tells it of new ones, and was made with otherwise before, was
    edited: it stays. So does a callback of a class that was not there.
    """
    known = _by_name(callbacks)
    for name, callback in known.items():
        new, old = made.get(name, {}), made_before.get(name, {})
        state = states.get(name, {})
        vars(callback).update({each: value for each, value in state.items() if new.get(each) == old.get(each)})
    for owner, group in groupby(arrays.items(), key=lambda item: item[0].rpartition("/")[0]):
        name, _, attribute = owner.rpartition("/")
        if name in known:
            setattr(known[name], attribute, [array for _, array in group])


def _by_name(callbacks: Sequence[Any]) -> dict[str, Any]:
    """By class, and number among those of it: others may be added on the way."""
    seen: Counter[str] = Counter()
    named = {}
    for callback in callbacks:
        kind = type(callback).__qualname__
        named[f"{kind} {seen[kind]}"] = callback
        seen[kind] += 1
    return named


def _state(callback: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, _PLAIN) and (name in _STATE_OF_KERAS or not _is_of_keras(callback))
    }


def _is_of_keras(callback: Any) -> bool:
    return type(callback).__module__.startswith(("keras.", "tf_keras."))


def _is_list_of_arrays(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, np.ndarray | np.generic) for each in value)
