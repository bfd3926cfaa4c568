"""The folder of a trained model: the Keras model, the module that built it, and all that is needed to use it again.

model.keras  module/  params.json  schema.json  statistics.json  training.json  checkpoints/
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, TrainingFailed
from trainwright_components.files import whole_file, write_whole
from trainwright_components.training.drivers.tf_keras_steps import rows_like
from trainwright_components.user_module.keras_kind import is_tf_keras, keras_for
from trainwright_components.user_module.model_inputs import TakenInput
from trainwright_components.user_module.module import Context, ModelModule, load_module

if TYPE_CHECKING:
    import keras

MODEL_FILE = "model.keras"
MODULE_FOLDER = "module"
PARAMS_FILE = "params.json"
TRAINING_FILE = "training.json"
CHECKPOINTS_FOLDER = "checkpoints"
OWN_LOOP = "own"  # the strategy of a module with its own train(context), whose epochs nobody counts
_SHAPE, _DTYPE = "shape", "dtype"


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained model in its folder; what is slow to load is loaded when asked for.

    Args:
        params: The hyperparameters that it was built with.
        training: What training recorded: settings, history, metrics, steps.
    """

    folder: Path
    params: Mapping[str, Any]
    training: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model in `folder`.

        Raises:
            InvalidData: `folder` was not written by a training.
        """
        try:
            params = json.loads((folder / PARAMS_FILE).read_text())
            training = json.loads((folder / TRAINING_FILE).read_text())
        except (OSError, ValueError) as error:
            raise InvalidData(f"{folder} is not a trained model: {error}; make one with train_distributed") from error
        return cls(folder=folder, params=params, training=training)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All that was in effect, defaults included, by the names of the groups that set it, and what came of it."""
        epochs_done = None if self.training.get("strategy") == OWN_LOOP else len(self.training.get("history", ()))
        return {
            "params": dict(self.params),
            "training": dict(self.training.get("settings", {})),
            "cluster": dict(self.training.get("cluster", {})),
            "epochs_done": epochs_done,
            "steps": self.training.get("steps"),
        }

    @cached_property
    def schema(self) -> Schema:
        """The schema of the dataset that it was trained on."""
        return Schema.load(self.folder)

    @cached_property
    def module(self) -> ModelModule:
        """The copy of the user's module that lies beside the model."""
        (location,) = (path for path in (self.folder / MODULE_FOLDER).iterdir() if path.name != "__pycache__")
        return replace(load_module(location), taken_input=TakenInput.of_record(self.training.get("inputs")))

    @cached_property
    def model(self) -> "keras.Model":
        """The compiled Keras model with its trained weights."""
        module = self.module
        with module.user_code("loading the model"):
            try:
                return keras_for(module.location).models.load_model(
                    self.folder / MODEL_FILE, custom_objects=module.custom_objects(), safe_mode=False
                )
            except (TypeError, ValueError):
                return self._rebuilt()  # a class of the user's that Keras cannot make from its configuration

    def _rebuilt(self) -> "keras.Model":
        model = self.module.build_model(self.context)
        if not model.built and self.training.get("inputs"):
            inputs = _symbols(self.training["inputs"])
            model(rows_like(inputs) if is_tf_keras(model) else inputs)
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / MODEL_FILE)
        return model

    @cached_property
    def context(self) -> Context:
        """What `preprocess` takes; its `dataset` is this folder, which has the schema and the statistics."""
        settings = self.training.get("settings", {})
        return Context(
            params=self.params,
            schema=self.schema,
            statistics=Statistics.load(self.folder),
            dataset=self.folder,
            batch_size=settings.get("batch_size", Context.batch_size),
            seed=settings.get("seed", Context.seed),
        )


def save_trained(
    folder: Path,
    *,
    model: "keras.Model",
    module: ModelModule,
    context: Context,
    training: Mapping[str, Any],
    inputs: Any = None,
) -> TrainedModel:
    """Write the model and all that belongs to it into the existing `folder`; `training.json` comes last.

    `inputs` is what the model takes, as a structure of symbolic tensors.

    Raises:
        TrainingFailed: The disk does not take it.
    """
    training = {**training, "inputs": _specs(inputs)}
    try:
        with module.user_code("saving the model"):
            _save_model(model, folder)
        module.copy_to(folder / MODULE_FOLDER)
        context.schema.save(folder)
        context.statistics.save(folder)
        write_whole(folder / PARAMS_FILE, json.dumps(dict(context.params), indent=2) + "\n")
        write_whole(folder / TRAINING_FILE, json.dumps(dict(training), indent=2) + "\n")
    except OSError as error:
        raise TrainingFailed(
            f"the trained model cannot be written to {folder}: {error.strerror or error}; make room and start again: "
            "the training run continues from its last checkpoint"
        ) from error
    return TrainedModel(folder=folder, params=context.params, training=training)


def _save_model(model: "keras.Model", folder: Path) -> None:
    with whole_file(folder / MODEL_FILE) as partial:
        model.save(partial)


def _specs(structure: Any) -> Any:
    """Shapes and dtypes as JSON."""
    if isinstance(structure, Mapping):
        return {name: _specs(part) for name, part in structure.items()}
    if isinstance(structure, list | tuple):
        return [_specs(part) for part in structure]
    return None if structure is None else {_SHAPE: list(structure.shape), _DTYPE: structure.dtype}


def _symbols(specs: Any) -> Any:
    """Symbolic tensors from what `_specs` gave."""
    import keras

    if isinstance(specs, list):
        return [_symbols(part) for part in specs]
    if set(specs) == {_SHAPE, _DTYPE}:
        return keras.KerasTensor(tuple(specs[_SHAPE]), specs[_DTYPE])
    return {name: _symbols(part) for name, part in specs.items()}
