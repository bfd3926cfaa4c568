"""Members that train in step go on from the same checkpoint, or not at all: each reads it from its own disk.

Built on the coordination service of TensorFlow 2.21, as `shutdown` is.
"""

from collections.abc import Collection

from trainwright_components.errors import TrainingFailed

_WAIT_MS = 600_000  # what reading a large checkpoint may take longer elsewhere


def check_same_start(step: int | None, others: Collection[str], *, name: str, attempt: int, folder: str) -> None:
    """Refuse to go on where another member does from another step; every member has to call this.

    Args:
        step: Of the checkpoint that this member goes on from; None for the beginning.
        others: Names of the other members that train.
        name: This member's own.
        attempt: Counts the calls of one process.
        folder: Where the checkpoints are, for the message.

    Raises:
        TrainingFailed: Another member does.
    """
    from tensorflow.python.eager import context  # no public way in 2.21

    service, own = context.context(), _in_words(step)
    service.set_config_key_value(f"start/{attempt}/{name}", own)
    for other in sorted(others):
        theirs = service.get_config_key_value(f"start/{attempt}/{other}", _WAIT_MS)
        theirs = theirs.decode() if isinstance(theirs, bytes) else theirs
        if theirs != own:
            raise TrainingFailed(
                f"{name} would begin from {own} and {other} from {theirs}, so that they would not train in step: give "
                f"all members the folder of checkpoints of the chief ({folder}), on a disk that they share or as a "
                "copy, or remove it everywhere to begin anew"
            )


def _in_words(step: int | None) -> str:
    return "the beginning" if step is None else f"the checkpoint of step {step}"
