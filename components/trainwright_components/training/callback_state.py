"""What Keras callbacks remember between epochs, such as the patience that is left, so that it survives a restart."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLAIN = (bool, int, float, str, type(None))
# Keras' own also change settings as they run (ReduceLROnPlateau turns the sign of min_delta): only these are state.
_STATE_OF_KERAS = ("best", "wait", "cooldown_counter", "best_epoch", "epochs_since_last_save")

States = Sequence[Mapping[str, Any]]


def callback_states(callbacks: Sequence[Any]) -> States:
    """The plain attributes of each callback: all of a user's class, those that count of Keras' own."""
    return [_state(callback) for callback in callbacks]


def callback_arrays(callbacks: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The attributes of users' classes that are lists of arrays, such as weights to go back to, by name and place."""
    return {
        f"{number}/{name}/{place}": array
        for number, callback in enumerate(callbacks)
        for name, value in vars(callback).items()
        if not _is_of_keras(callback) and _is_list_of_arrays(value)
        for place, array in enumerate(value)
    }


def restore_callbacks(callbacks: Sequence[Any], states: States, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set what `callback_states` and `callback_arrays` gave; nothing when there are no states."""
    for callback, state in zip(callbacks, states, strict=False):
        vars(callback).update(state)
    for owner, group in groupby(arrays.items(), key=lambda item: item[0].rpartition("/")[0]):
        number, _, name = owner.partition("/")
        setattr(callbacks[int(number)], name, [array for _, array in group])


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
