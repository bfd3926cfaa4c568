"""The Keras callbacks of a model module: which members run them, and which of them look at single batches."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule
from trainwright_components.user_module.keras_kind import keras_of
from trainwright_components.user_module.module import Context, ModelModule

if TYPE_CHECKING:
    import keras

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_WRITERS = ("ModelCheckpoint", "CSVLogger", "TensorBoard", "RemoteMonitor")
# Keras' own that have a batch hook and, set like this, do nothing in it; the loop itself looks for NaN.
_IDLE_IN_BATCHES: dict[str, Callable[[Any], bool]] = {
    "ModelCheckpoint": lambda callback: callback.save_freq == "epoch",
    "TerminateOnNaN": lambda _: True,
}


def open_callbacks(
    module: ModelModule, context: Context, model: "keras.Model", *, epochs: int, steps: int, is_chief: bool
) -> "keras.callbacks.CallbackList":
    """The module's callbacks. On members that are not the chief, an idle one stands in for each that writes files.

    Raises:
        InvalidModule: There is one that cannot work here.
    """
    keras_callbacks = keras_of(model).callbacks
    users = list(module.callbacks(context)) if module.callbacks is not None else []
    if any(isinstance(callback, keras_callbacks.BackupAndRestore) for callback in users):
        raise InvalidModule(
            f"callbacks of {module.location.name} returned BackupAndRestore, which repeats steps; leave it "
            "out: training saves checkpoints and goes on from them at the exact step"
        )
    writers = tuple(getattr(keras_callbacks, name) for name in _WRITERS)
    own = [keras_callbacks.Callback() if isinstance(one, writers) and not is_chief else one for one in users]
    return keras_callbacks.CallbackList(own, add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)


def watch_batches(callbacks: Sequence[Any]) -> bool:
    """Whether any of `callbacks` wants to see each training batch."""
    return any(_watches_batches(callback) for callback in callbacks)


def _watches_batches(callback: Any) -> bool:
    kind = type(callback)
    idle = _IDLE_IN_BATCHES.get(kind.__name__)
    if idle is not None and kind.__module__.startswith(("keras.", "tf_keras.")) and idle(callback):
        return False
    base = keras_of(callback).callbacks.Callback
    return any(
        hook in vars(callback) or getattr(kind, hook, None) is not getattr(base, hook, None) for hook in _BATCH_HOOKS
    )
