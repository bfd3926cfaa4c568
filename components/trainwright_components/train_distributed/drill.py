"""Train twice, inject a fault into one member of the second training run, and report what that cost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.cluster.heartbeats import TRAINING
from trainwright_components.cluster.spec import ROLES, ClusterSpec, Member
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidSetting, RunFailed, TrainwrightError
from trainwright_components.train_distributed.fault_injection import Fault, FaultInjectingLauncher, FaultTimes
from trainwright_components.train_distributed.train import make_launcher, train_model
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.data.batches import Order
from trainwright_components.training.data.splits import TRAIN
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.trained_model import TrainedModel
from trainwright_components.user_module.keras_kind import uses_tf_keras
from trainwright_components.user_module.module import load_module

STALL_S, RENDEZVOUS_S = 60.0, 60.0  # shorter than those of a training run: here the fault is known to come
DEFAULT_CLUSTERS: Mapping[str, Mapping[str, int]] = {
    "chief": {"chief": 1, "worker": 1},
    "worker": {"worker": 2},
    "ps": {"chief": 1, "worker": 2, "ps": 1},
    "evaluator": {"chief": 1, "evaluator": 1},
}
ONE_STEP_AT_A_TIME = (  # faults are injected between two calls, when nothing is in flight
    "with one step handed out at a time; training.steps_per_call=N hands out N, also to a member that is lost"
)


@dataclass(frozen=True, kw_only=True)
class DrillResult:
    """What a fault cost. Times are seconds after it; None for what did not happen.

    Args:
        has_survived: Whether the training run with the fault ended with a model.
        step: The step at which the fault was injected.
        resumed_at: The step from which it resumed; None when it never stopped.
        steps_lost: Steps that were taken twice.
        noticed_s: Until members were restarted.
        back_s: Until the training run took steps with all members again.
        caught_up_s: Until it was past the step of the fault.
        reasons: The reason of each restart.
        largest_difference: Between a weight of the two training runs.
        undisturbed_s: Duration of the training run without the fault.
        disturbed_s: Duration of the one with it.
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
    fault: Fault,
    *,
    params: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    compare: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> DrillResult:
    """Train `module` on `dataset` with a fault and, to compare, without.

    Args:
        dataset: A folder that prepare_data wrote.
        module: A Python file, a folder, or a dotted name.
        folder: Where both training runs go.
        fault: What happens to whom, and when.
        params: Overrides of the module's `DEFAULT_PARAMS`.
        training: Fields of `TrainingSettings`; calls into TensorFlow have one step each unless it says otherwise.
        cluster: Fields of `ClusterSpec`; where they name no role, the smallest cluster with such a member.
        compare: Whether to train without the fault too.
        tell: Receives lines for a person.

    Raises:
        InvalidSetting: The training run has fewer steps, or the cluster has no such member.
        RunFailed: The fault point was never reached.
        TrainwrightError: The training run without the fault failed.
    """
    if uses_tf_keras(module):
        raise InvalidSetting(f"a drill needs a module for Keras 3; {Path(module).name} is written for tf_keras")
    cluster = {
        "stall_timeout_s": STALL_S,
        "rendezvous_timeout_s": RENDEZVOUS_S,
        **_with_members(fault.member.role, cluster),
    }
    spec = ClusterSpec.from_mapping(cluster)
    fault.stopped_member(spec)
    options: dict[str, Any] = {
        "params": params,
        "training": {"steps_per_call": 1, **(training or {})},
        "cluster": cluster,
    }
    settings = TrainingSettings.from_mapping(options["training"])
    _check_step(fault.step, module, dataset, settings)
    reference, reference_s = None, None
    if compare:
        tell(f"training without a fault on {_describe(spec)}")
        started = time.monotonic()
        reference = train_model(dataset, module, folder / "undisturbed", **options)
        reference_s = time.monotonic() - started
        tell(f"without a fault: {reference.steps} steps in {reference_s:.1f} s")
    tell(f"training again, with a fault in {fault.member}")
    launcher = FaultInjectingLauncher(
        inner=make_launcher(spec.launcher), fault=fault, folder=folder / "fault_point", tell=tell
    )
    started = time.monotonic()
    error, result = "", None
    try:
        result = train_model(dataset, module, folder / "disturbed", launcher=launcher, **options)
    except TrainwrightError as failure:
        error = str(failure)
    if launcher.times.injected is None:
        raise RunFailed(
            f"no fault was injected: training finished before {fault.stopped_member(spec)} was {fault.moment} at "
            f"step {fault.step}{': ' + error if error else ''}"
        )
    return _account(
        fault,
        launcher.times,
        result,
        reference,
        undisturbed_s=reference_s,
        disturbed_s=time.monotonic() - started,
        error=error,
        note=ONE_STEP_AT_A_TIME if _has_nothing_in_flight(spec, settings) else "",
    )


def _check_step(step: int, module: str | Path, dataset: Path, settings: TrainingSettings) -> None:
    steps = _planned_steps(module, dataset, settings)
    if steps is not None and step > steps:
        raise InvalidSetting(
            f"step {step} never comes: this training run has {steps} steps, {steps // settings.epochs} in each of "
            f"{settings.epochs} epochs"
        )


def _planned_steps(module: str | Path, dataset: Path, settings: TrainingSettings) -> int | None:
    """The steps of the whole training run; None when only the module's own code knows."""
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
    fault: Fault,
    times: FaultTimes,
    result: TrainingResult | None,
    reference: TrainingResult | None,
    *,
    undisturbed_s: float | None,
    disturbed_s: float,
    error: str,
    note: str,
) -> DrillResult:
    resumed = result.timeline.resumed_at if result is not None else []
    return DrillResult(
        member=str(fault.member),
        how=fault.how,
        moment=fault.moment,
        step=times.step,
        has_survived=result is not None,
        resumed_at=resumed[-1] if resumed else None,
        steps_lost=_steps_lost(times, resumed) if result is not None else None,
        noticed_s=_since(times, times.noticed),
        back_s=_since(times, times.back),
        caught_up_s=_since(times, times.caught_up),
        reasons=tuple(restart.reason for restart in result.restarts) if result is not None else (),
        largest_difference=_difference(result, reference) if result and reference else None,
        undisturbed_s=undisturbed_s,
        disturbed_s=disturbed_s,
        error=error,
        note=note,
    )


def _steps_lost(times: FaultTimes, resumed: list[int]) -> int:
    """All steps, when members that train were restarted and found no checkpoint."""
    if resumed:
        return max(0, times.step - resumed[-1])
    have_stopped = any(member.role in ("chief", "ps") for member in times.restarted) or len(times.restarted) > 1
    return times.step if have_stopped else 0


def _since(times: FaultTimes, moment: float | None) -> float | None:
    return moment - times.injected if moment is not None and times.injected is not None else None


def _difference(one: TrainingResult, other: TrainingResult) -> float:
    import numpy as np

    ours, theirs = (TrainedModel.load(result.model_folder).model.get_weights() for result in (one, other))
    return max((float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True) if a.size), default=0.0)


def _describe(spec: ClusterSpec) -> str:
    return ", ".join(f"{count} {role}" for role, count in spec.to_mapping().items())


def _with_members(role: str, cluster: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """`cluster`, with the default members for a fault in `role` where it names none."""
    named = cluster or {}
    return named if any(one in named for one in ROLES) else {**DEFAULT_CLUSTERS[role], **named}


def plan_fault(
    role: str,
    index: int | None = None,
    *,
    how: str = "kill",
    moment: str = TRAINING,
    step: int = 0,
    cluster: Mapping[str, Any] | None = None,
) -> Fault:
    """A fault in a member that `cluster` has; the last of its role when `index` is absent.

    Raises:
        InvalidSetting: There is no such member.
    """
    spec = ClusterSpec.from_mapping(_with_members(role, cluster))
    last = max(0, spec.role(role).replicas - 1)
    member = Member(role=role, index=last if index is None else index)
    fault = Fault(member=member, how=how, moment=moment, step=step)
    fault.stopped_member(spec)
    return fault
