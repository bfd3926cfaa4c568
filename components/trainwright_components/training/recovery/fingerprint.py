"""What decides the weights of a training, as one text: a checkpoint is used only by the training that wrote it."""

import hashlib
import json

from trainwright_components.files import content_digest
from trainwright_components.model_module import Context, ModelModule
from trainwright_components.training.configuration.settings import TrainingSettings

_NO_EFFECT_ON_WEIGHTS = (
    "epochs",
    "keep_checkpoints",
    "progress_every_s",
    "threads",
    "steps_per_call",
    "on_nan",
    "roll_back_factor",
    "max_roll_backs",
    "devices",
    "communication",
    "placement",
    "layout",
    "equivalence_steps",
)


def fingerprint_of(module: ModelModule, context: Context, settings: TrainingSettings) -> str:
    """A digest of code, parameters, settings and data, and how many replicas share the work."""
    deciding = {name: value for name, value in settings.to_mapping().items() if name not in _NO_EFFECT_ON_WEIGHTS}
    parts = [
        content_digest(module.location),
        json.dumps(dict(context.params), sort_keys=True, default=str),
        json.dumps(deciding, sort_keys=True),
        context.schema.to_json(),
        context.statistics.to_json(),
    ]
    return f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}-{context.replicas}"


def is_of_same_training(one: str, other: str) -> bool:
    """Whether two fingerprints differ in nothing but the replicas, of which a member that looks on knows nothing."""
    return one.rpartition("-")[0] == other.rpartition("-")[0]
