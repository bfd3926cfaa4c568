"""What follows when the loss is NaN or infinite: the end, or a return to the last checkpoint at a lower rate.

Every member of a cluster sees the same loss after the same call and reads the same checkpoint, which the chief wrote
before it, so all of them decide alike.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainwright_components.errors import InvalidSetting, TrainingFailed
from trainwright_components.training.configuration.settings import ROLL_BACK, TrainingSettings
from trainwright_components.training.loop import Loop, NotFinite
from trainwright_components.training.recovery.checkpoints import Checkpoint, CheckpointFolder
from trainwright_components.training.recovery.model_state import read_rate
from trainwright_components.training.timeline import RollBack

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def check_rate(model: "keras.Model", settings: TrainingSettings) -> None:
    """Refuse to promise a lower rate to an optimizer whose rate a schedule decides.

    Raises:
        InvalidSetting: `on_nan` is `roll_back`, and the rate cannot be set.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    schedule = optimizer.get_config().get("learning_rate")
    if settings.on_nan == ROLL_BACK and isinstance(schedule, Mapping):
        raise InvalidSetting(
            "training.on_nan roll_back lowers the learning rate, but that of the optimizer follows "
            f"{schedule['class_name']}; compile with a number, or set on_nan to stop"
        )


def find_way_back(error: NotFinite, loop: Loop, checkpoints: CheckpointFolder, *, nan_inputs: str = "") -> Checkpoint:
    """The checkpoint to return to; `nan_inputs` says what is NaN when the model gets it, the likeliest cause.

    Raises:
        TrainingFailed: The settings say to stop, it was tried often enough, or a lower rate would not help.
    """
    settings, done = loop.settings, len(loop.position.timeline.roll_backs)
    if nan_inputs:
        error = NotFinite(f"{nan_inputs}; {error}")
    if settings.on_nan != ROLL_BACK:
        raise TrainingFailed(str(error)) from error
    if done >= settings.max_roll_backs:
        raise TrainingFailed(f"{error}; it had gone back to a checkpoint {done} times") from error
    checkpoint = checkpoints.newest()
    if checkpoint is None:
        raise TrainingFailed(f"{error}; there is no checkpoint to go back to") from error
    if nan_inputs and checkpoint.step < loop.steps_per_epoch:  # later, a whole pass over them had done no harm
        raise TrainingFailed(f"{error}; going back would not help") from error
    return checkpoint


def roll_back(error: NotFinite, failed: Loop, loop: Loop) -> None:
    """Lower the rate of `loop`, which stands at the checkpoint, record why, and keep that as the new checkpoint."""
    timeline = loop.position.timeline
    if len(timeline.roll_backs) == len(failed.position.timeline.roll_backs):  # else the chief's new checkpoint was read
        rate = read_rate(loop.model) * loop.settings.roll_back_factor
        loop.model.optimizer.learning_rate = rate
        timeline.roll_backs.append(
            RollBack(
                step=failed.position.step,
                to_step=loop.position.step,
                reason=str(error),
                learning_rate=rate,
            )
        )
    last = timeline.roll_backs[-1]
    logger.warning("%s. Going back to step %d with learning rate %.3g", error, last.to_step, last.learning_rate)
    loop.save_checkpoint()
