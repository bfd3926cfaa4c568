"""How members that train in step meet, and leave: when the chief has saved, and without any being taken for lost.

Built on the coordination service of TensorFlow 2.21, which the chief hosts; a collective operation would break for
those who are still in it when the first one leaves.
"""

import contextlib
from collections.abc import Sequence

_SAVING_MS = 24 * 3600 * 1000
_LEAVING_MS = 10_000


def meet(name: str) -> None:
    """Wait until all members are at the point of this name, of which there is one in a training run.

    Raises:
        tf.errors.OpError: A member was lost before all had met.
    """
    from tensorflow.python.eager import context  # no public way in 2.21

    context.context().wait_at_barrier(name, _SAVING_MS)


def take_from_chief(name: str, value: str, *, is_chief: bool) -> str:
    """The `value` that the chief calls this with, which is called with each name once.

    Raises:
        tf.errors.OpError: The chief was lost.
    """
    from tensorflow.python.eager import context  # no public way in 2.21

    if is_chief:
        context.context().set_config_key_value(name, value)
        return value
    return str(context.context().get_config_key_value(name, _SAVING_MS))


def shut_down_together(others: Sequence[str], *, name: str, is_chief: bool) -> None:
    """Wait for all members, and as the chief for all `others` to be on their way out.

    Args:
        others: Names of the members that are not the chief.
        name: This member's own.
        is_chief: Whether this member saves, and hosts the service.

    Raises:
        tf.errors.OpError: A member was lost before all had met.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context  # no public way in 2.21

    service = context.context()
    meet("trained")
    with contextlib.suppress(tf.errors.OpError):  # all have met: from here on, nobody's end is a loss
        if not is_chief:
            service.set_config_key_value(f"left/{name}", "yes")
        for other in others if is_chief else ():
            service.get_config_key_value(f"left/{other}", _LEAVING_MS)
