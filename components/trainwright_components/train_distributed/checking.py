"""What is refused before the members of a cluster start, in a process where TensorFlow may compute already."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.datasets.reader import check_files
from trainwright_components.errors import InvalidSetting
from trainwright_components.processes.quiet_devices import find_devices_quietly
from trainwright_components.training.configuration.devices import leave_gpus_to_members
from trainwright_components.training.configuration.precision import dtype_policy
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.data.splits import TRAIN, VALIDATION
from trainwright_components.training.drivers.sharing_check import check_sharing
from trainwright_components.training.module_check import check_module
from trainwright_components.training.strategies.choice import choose_strategy
from trainwright_components.training.tensorflow_errors import translate_tensorflow_errors
from trainwright_components.user_module.keras_kind import mentions
from trainwright_components.user_module.module import ModelModule, load_module


def check_before_start(
    spec: ClusterSpec, module: ModelModule, dataset: Path, params: Mapping[str, Any], settings: TrainingSettings
) -> ModelModule:
    """Refuse what cannot be trained; returns the module, which knows how its model takes its one input."""
    leave_gpus_to_members()
    choose_strategy(settings, spec)
    if spec.evaluator.replicas and module.train is not None:
        raise InvalidSetting(
            f"cluster.evaluator scores checkpoints, but {module.location.name} has its own train(context), which "
            "writes none; leave one of them out"
        )
    if module.train is not None and len(spec.members) > 1 and not mentions(module.location, "distribute", "TF_CONFIG"):
        raise InvalidSetting(
            f"each of the {len(spec.members)} members of cluster would call train(context) of {module.location.name}, "
            "which makes no strategy of tf.distribute, so that each would train alone; leave cluster out, or make one "
            "there from TF_CONFIG (a module that mentions tf.distribute or TF_CONFIG is taken to do so)"
        )
    replicas = 1 if spec.has_parameter_servers else spec.trainers
    context = make_context(module, dataset, params, settings, replicas=replicas)
    with dtype_policy(settings.precision), translate_tensorflow_errors(settings.batch_size, dataset):
        if module.make_dataset is None:
            for split in (TRAIN, VALIDATION):
                if split in context.statistics.splits and context.statistics.split(split).rows:
                    check_files(dataset, split)
        model = check_module(module, context)
        if model is None:
            return module
        module = module.for_model(model)
        if spec.has_parameter_servers:
            check_sharing(module, model, context, settings)
    return module


def check_alone(
    spec: ClusterSpec, location: str, dataset: Path, params: Mapping[str, Any], settings: TrainingSettings
) -> bool:
    """As `check_before_start`, in a process of its own; returns whether the model takes its one input alone."""
    find_devices_quietly()
    taken = check_before_start(spec, load_module(location), dataset, params, settings).taken_input
    return taken is not None and taken.is_alone
