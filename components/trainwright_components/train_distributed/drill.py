"""A drill: train twice, disturb one member of the second training, and tell what that cost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.cluster.heartbeats import TRAINING
from trainwright_components.cluster.spec import ROLES, ClusterSpec, Member
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidSetting, RunFailed, TrainwrightError
from trainwright_components.train_distributed.fault_injection import Disturbance, Disturbing, Times
from trainwright_components.train_distributed.train import make_launcher, train_model
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.data.batches import Order
from trainwright_components.training.data.splits import TRAIN
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.keras_kind import uses_tf_keras
from trainwright_components.user_module.module import load_module

STALL_S, RENDEZVOUS_S = 60.0, 60.0  # a drill need not wait as long as a training
DEFAULT_CLUSTERS: Mapping[str, Mapping[str, int]] = {
    "chief": {"chief": 1, "worker": 1},
    "worker": {"worker": 2},
    "ps": {"chief": 1, "worker": 2, "ps": 1},
    "evaluator": {"chief": 1, "evaluator": 1},
}
ONE_STEP_AT_A_TIME = (  # members are disturbed between two calls, when nothing is in flight
    "with one step handed out at a time; training.steps_per_call=N hands out N, also to a member that is lost"
)


@dataclass(frozen=True, kw_only=True)
class DrillResult:
    """What a disturbance cost. Times are seconds after it; None for what did not happen.

    Args:
        has_survived: Whether the disturbed training ended with a model.
        step: The step at which it was disturbed.
        resumed_at: The step from which it went on; None when it never stopped.
        steps_lost: Steps that were taken twice.
        noticed_s: Until members were started again.
        back_s: Until the training took steps with all members again.
        caught_up_s: Until it was past the step of the disturbance.
        reasons: Why members started again, each time.
        largest_difference: Between a weight of the disturbed and of the undisturbed training.
        undisturbed_s: What the undisturbed training took from start to end.
        error: Why it did not survive.
        note: What the result says nothing about.
    """

    member: str
    how: str
    moment: str
    step: int
    has_survived: bool
    resumed_at: int | None = None
    steps_lost: int | None = None
    noticed_s: float | None = None
    back_s: float | None = None
    caught_up_s: float | None = None
    reasons: tuple[str, ...] = ()
    largest_difference: float | None = None
    undisturbed_s: float | None = None
    disturbed_s: float = 0.0
    error: str = ""
    note: str = ""


def run_drill(
    dataset: Path,
    module: str | Path,
    folder: Path,
    disturbance: Disturbance,
    *,
    params: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    compare: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> DrillResult:
    """Train `module` on `dataset`, disturbed and, to compare, undisturbed.

    Args:
        dataset: A folder that prepare_data wrote.
        module: A Python file, a folder, or a dotted name.
        folder: Where both trainings go.
        disturbance: What happens to whom, and when.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        training: Fields of `TrainingSettings`; calls into TensorFlow have one step each unless it says otherwise.
        cluster: Fields of `ClusterSpec`; where they name no role, the smallest cluster with such a member.
        compare: Whether to train undisturbed too.
        tell: Takes lines for a person.

    Raises:
        InvalidSetting: The training has fewer steps, or the cluster has no such member.
        RunFailed: The moment never came.
        TrainwrightError: The undisturbed training failed.
    """
    if uses_tf_keras(module):
        raise InvalidSetting(f"a drill needs a module for Keras 3; {Path(module).name} is written for tf_keras")
    cluster = {
        "stall_timeout_s": STALL_S,
        "rendezvous_timeout_s": RENDEZVOUS_S,
        **_with_members(disturbance.member.role, cluster),
    }
    spec = ClusterSpec.from_mapping(cluster)
    disturbance.held(spec)
    options: dict[str, Any] = {
        "params": params,
        "training": {"steps_per_call": 1, **(training or {})},
        "cluster": cluster,
    }
    settings = TrainingSettings.from_mapping(options["training"])
    _check_step(disturbance.step, module, dataset, settings)
    undisturbed, undisturbed_s = None, None
    if compare:
        tell(f"training undisturbed on {_in_words(spec)}")
        started = time.monotonic()
        undisturbed = train_model(dataset, module, folder / "undisturbed", **options)
        undisturbed_s = time.monotonic() - started
        tell(f"undisturbed: {undisturbed.steps} steps in {undisturbed_s:.1f} s")
    tell(f"training again; {disturbance.member} will be disturbed")
    launcher = Disturbing(
        inner=make_launcher(spec.launcher), disturbance=disturbance, folder=folder / "hold", tell=tell
    )
    started = time.monotonic()
    error, result = "", None
    try:
        result = train_model(dataset, module, folder / "disturbed", launcher=launcher, **options)
    except TrainwrightError as failure:
        error = str(failure)
    if launcher.times.disturbed is None:
        raise RunFailed(
            f"nobody was disturbed: the training ended before {disturbance.held(spec)} was {disturbance.moment} at "
            f"step {disturbance.step}{': ' + error if error else ''}"
        )
    return _account(
        disturbance,
        launcher.times,
        result,
        undisturbed,
        undisturbed_s=undisturbed_s,
        disturbed_s=time.monotonic() - started,
        error=error,
        note=ONE_STEP_AT_A_TIME if _has_nothing_in_flight(spec, settings) else "",
    )


def _check_step(step: int, module: str | Path, dataset: Path, settings: TrainingSettings) -> None:
    steps = _planned_steps(module, dataset, settings)
    if steps is not None and step > steps:
        raise InvalidSetting(
            f"step {step} never comes: this training has {steps} steps, {steps // settings.epochs} in each of "
            f"{settings.epochs} epochs"
        )


def _planned_steps(module: str | Path, dataset: Path, settings: TrainingSettings) -> int | None:
    """The steps of the whole training; None when only the module's own code knows."""
    loaded = load_module(module)
    if loaded.train is not None or (loaded.make_dataset is not None and not settings.steps_per_epoch):
        return None
    order = Order(batch_size=settings.batch_size, drop_remainder=settings.drop_remainder)
    split = Statistics.load(dataset).splits.get(TRAIN)
    in_epoch = settings.steps_per_epoch or (order.steps(split.rows) if split is not None else 0)
    return settings.epochs * in_epoch or None


def _has_nothing_in_flight(spec: ClusterSpec, settings: TrainingSettings) -> bool:
    return spec.has_parameter_servers and spec.worker.replicas > 1 and settings.steps_per_call == 1


def _account(
    what: Disturbance,
    times: Times,
    result: TrainingResult | None,
    undisturbed: TrainingResult | None,
    *,
    undisturbed_s: float | None,
    disturbed_s: float,
    error: str,
    note: str,
) -> DrillResult:
    resumed = result.course.resumed_at if result is not None else []
    return DrillResult(
        member=str(what.member),
        how=what.how,
        moment=what.moment,
        step=times.step,
        has_survived=result is not None,
        resumed_at=resumed[-1] if resumed else None,
        steps_lost=_steps_lost(times, resumed) if result is not None else None,
        noticed_s=_since(times, times.noticed),
        back_s=_since(times, times.back),
        caught_up_s=_since(times, times.caught_up),
        reasons=tuple(restart.reason for restart in result.restarts) if result is not None else (),
        largest_difference=_difference(result, undisturbed) if result and undisturbed else None,
        undisturbed_s=undisturbed_s,
        disturbed_s=disturbed_s,
        error=error,
        note=note,
    )


def _steps_lost(times: Times, resumed: list[int]) -> int:
    """All steps, when members that train started again and found no checkpoint."""
    if resumed:
        return max(0, times.step - resumed[-1])
    have_stopped = any(member.role in ("chief", "ps") for member in times.restarted) or len(times.restarted) > 1
    return times.step if have_stopped else 0


def _since(times: Times, moment: float | None) -> float | None:
    return moment - times.disturbed if moment is not None and times.disturbed is not None else None


def _difference(one: TrainingResult, other: TrainingResult) -> float:
    import numpy as np

    ours, theirs = (TrainedModel.load(result.model_folder).model.get_weights() for result in (one, other))
    return max((float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True) if a.size), default=0.0)


def _in_words(spec: ClusterSpec) -> str:
    return ", ".join(f"{count} {role}" for role, count in spec.to_mapping().items())


def _with_members(role: str, cluster: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """`cluster`, with the default members for a drill of `role` where it names none."""
    named = cluster or {}
    return named if any(one in named for one in ROLES) else {**DEFAULT_CLUSTERS[role], **named}


def plan_disturbance(
    role: str,
    index: int | None = None,
    *,
    how: str = "kill",
    moment: str = TRAINING,
    step: int = 0,
    cluster: Mapping[str, Any] | None = None,
) -> Disturbance:
    """The disturbance of a member that `cluster` has; the last of its role when `index` is absent.

    Raises:
        InvalidSetting: There is no such member.
    """
    spec = ClusterSpec.from_mapping(_with_members(role, cluster))
    last = max(0, spec.role(role).replicas - 1)
    member = Member(role=role, index=last if index is None else index)
    disturbance = Disturbance(member=member, how=how, moment=moment, step=step)
    disturbance.held(spec)
    return disturbance
