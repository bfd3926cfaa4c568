"""What decides the weights of a training run, as one string: a checkpoint is used only by the run that wrote it."""

import hashlib
import json

from trainwright_components.files import content_digest
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.user_module.module import Context, ModelModule

# In the fingerprint: what decides the weights after a step, or which of them are kept.
_DECIDES_STEPS = (
    "batch_size",
    "seed",
    "precision",
    "shuffle",
    "shuffle_buffer",
    "drop_remainder",
    "class_weights",
    "steps_per_epoch",  # also what an epoch is, in which schedules and callbacks count
    "layout",  # its first steps are proved against one device, and random layers draw other numbers in parts
    "deterministic",  # promises the same bits, which no other start gives
)
_DECIDES_WHAT_IS_KEPT = ("monitor", "restore_best_weights")  # where early stopping chooses; its patience may change
# Not in it: a training run that was cut off continues after a change of these.
_NO_EFFECT_ON_WEIGHTS = (
    "epochs",  # how far it goes
    "early_stopping_patience",  # the same, but for whether there is any
    "checkpoint_every_steps",
    "checkpoint_every_s",
    "keep_checkpoints",
    "progress_every_s",
    "steps_per_call",
    "equivalence_steps",
    "on_nan",  # what follows a loss that is NaN: there is no checkpoint of such weights
    "roll_back_factor",
    "max_roll_backs",
    "strategy",  # where the same steps are computed, equal but for rounding; how many replicas counts, see below
    "logical_devices",
    "placement",
    "tpu",
    "devices",
    "communication",
    "threads",
    "jit_compile",
)


def fingerprint_of(module: ModelModule, context: Context, settings: TrainingSettings) -> str:
    """A digest of code, parameters, settings and data, and how many replicas share the work.

    Their number counts since BatchNormalization and Dropout see the share of a replica.
    """
    stops_early = settings.early_stopping_patience is not None
    names = _DECIDES_STEPS + (_DECIDES_WHAT_IS_KEPT if stops_early else ())
    values = settings.to_mapping()
    parts = [
        content_digest(module.location),
        json.dumps(dict(context.params), sort_keys=True, default=str),
        json.dumps({name: values[name] for name in names}, sort_keys=True),
        context.schema.without_reading().to_json(),
        context.statistics.to_json(),
    ]
    return f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}-{context.replicas}"


def is_of_same_training(one: str, other: str) -> bool:
    """Whether two fingerprints differ in nothing but the replicas, of which a member that looks on knows nothing."""
    return one.rpartition("-")[0] == other.rpartition("-")[0]
