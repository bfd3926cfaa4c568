"""How far the weights of several replicas are from those of one device after the first steps: measured, on request.

The same training runs on one device for these steps, in a process of its own and before this one takes its devices.
"""

import logging
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.cluster.tf_config import VARIABLE
from trainwright_components.errors import TrainingFailed
from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.training.configuration.device_settings import CommunicationSettings
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.recovery.model_state import read_weights
from trainwright_components.training.timeline import Equivalence

if TYPE_CHECKING:
    import keras

REFERENCE_TARGET = "trainwright_components.training.reference:train_reference"
_PRELOAD = ("tensorflow", "keras")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Looks at the weights after `step` steps; every member of a cluster has to, and the chief has what to compare.

    Args:
        reference: The weights of one device, as `read_weights` gives them; empty where nothing is compared.
        limit: A difference above it ends the training.
    """

    step: int
    limit: float = math.inf
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def look_at(self, model: "keras.Model") -> Equivalence | None:
        """The largest difference of any weight; None without a reference.

        Raises:
            TrainingFailed: It is above the limit.
        """
        weights = read_weights(model)
        if not self.reference:
            return None
        differences = [_difference(weights[name], value) for name, value in self.reference.items() if _is_float(value)]
        largest = max(differences)
        if not largest <= self.limit:
            raise TrainingFailed(
                f"after {self.step} steps a weight differs by {largest:.1e} from what one device computes, more than "
                f"{self.limit:g}: DTensor treats an operation of this model otherwise (random layers such as Dropout "
                "draw other numbers there); cut other weights, or use training.placement or mirrored"
            )
        return Equivalence(steps=self.step, largest_difference=largest)


class ReferenceFailed(Exception):
    """The training on one device gave no weights; the message says why."""


def train_on_one_device(
    module: Path, dataset: Path, *, params: Mapping[str, Any], settings: TrainingSettings
) -> dict[str, NDArray[Any]]:
    """The weights after the first `equivalence_steps` steps on one device, from a process of its own.

    Raises:
        ReferenceFailed: It ended otherwise.
    """
    alone = replace(
        settings,
        strategy="one_device",
        logical_devices=1,
        placement={},
        layout={},
        devices=replace(settings.devices, use=()),
        communication=CommunicationSettings(),
        equivalence_steps=0,
        checkpoint_every_s=0.0,
        checkpoint_every_steps=0,
    )
    with tempfile.TemporaryDirectory(prefix="trainwright-equivalence-") as name:
        log, weights = Path(name) / "log", Path(name) / "weights.npz"
        arguments = {
            "module": str(module),
            "dataset": str(dataset.absolute()),
            "output": str(Path(name) / "model"),
            "params": dict(params),
            "training": alone.to_mapping(),
            "steps": settings.equivalence_steps,
            "weights": str(weights),
        }
        parent = WarmParent.connect_or_start(_PRELOAD)
        try:
            with parent.spawn(REFERENCE_TARGET, arguments, log=log, env={VARIABLE: "{}"}) as child:
                child.wait()
        finally:
            parent.close()
        if not weights.is_file():
            lines = log.read_text(errors="replace").strip().splitlines()
            raise ReferenceFailed(lines[-1] if lines else "its process ended without a word")
        with np.load(weights) as archive:
            return {name: archive[name] for name in archive.files}


def compare_with_one_device(
    module: Path, dataset: Path, *, params: Mapping[str, Any], settings: TrainingSettings, limit: float = math.inf
) -> Comparison:
    """What the chief compares with; one device's training that fails leaves a line in the log, and no comparison."""
    step = settings.equivalence_steps
    logging.getLogger(__name__).info("equivalence: taking the first %d steps on one device", step)
    try:
        reference = train_on_one_device(module, dataset, params=params, settings=settings)
    except ReferenceFailed as error:
        logging.getLogger(__name__).warning("equivalence cannot be measured: on one device, %s", error)
        return Comparison(step=step)
    return Comparison(step=step, reference=reference, limit=limit)


def _is_float(value: NDArray[Any]) -> bool:
    return value.dtype.kind == "f"


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype("float64") - other.astype("float64")).max(initial=0.0))
