"""What Keras callbacks remember between epochs, such as the patience that is left, so that it survives a restart."""

from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = (bool, int, float, str, type(None))
# Keras' own also change settings as they run (ReduceLROnPlateau turns the sign of min_delta): only these are state.
_STATE_OF_KERAS = ("best", "wait", "cooldown_counter", "best_epoch", "epochs_since_last_save")

States = Sequence[Mapping[str, Any]]


def callback_states(callbacks: Sequence[Any]) -> States:
    """The plain attributes of each callback: all of a user's class, those that count of Keras' own."""
    return [_state(callback) for callback in callbacks]


def restore_callbacks(callbacks: Sequence[Any], states: States) -> None:
    """Set what `callback_states` gave; nothing when there are no states."""
    for callback, state in zip(callbacks, states, strict=False):
        vars(callback).update(state)


def _state(callback: Any) -> dict[str, Any]:
    is_of_keras = type(callback).__module__.startswith(("keras.", "tf_keras."))
    return {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, _PLAIN) and (name in _STATE_OF_KERAS or not is_of_keras)
    }
