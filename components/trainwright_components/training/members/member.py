"""One member of a training cluster, as launchers start it: what goes wrong becomes an exit code and a file."""

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainwright_components import errors
from trainwright_components.cluster.fault_points import FaultPoint
from trainwright_components.cluster.heartbeats import JOINING, HeartbeatFile, SendHeartbeat
from trainwright_components.cluster.launchers.protocol import THREADS_VARIABLE
from trainwright_components.cluster.rules import EVALUATOR, servers
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.cluster.tf_config import complete_tf_config, read_tf_config
from trainwright_components.errors import InvalidSetting, TrainwrightError, first_line
from trainwright_components.files import write_whole
from trainwright_components.processes.exit_codes import DONE, FAILED, PEER_LOST
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.members.evaluator import run_evaluator
from trainwright_components.training.members.servers import serve
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.run import run_training
from trainwright_components.training.task_context import TaskContext
from trainwright_components.user_module.model_inputs import TakenInput
from trainwright_components.user_module.module import ModelModule, load_module

TARGET = f"{__name__}:main"
_ERRORS_FOLDER = "errors"


def main(
    *,
    module: str,
    dataset: str,
    output: str,
    folder: str,
    params: Mapping[str, Any],
    training: Mapping[str, Any],
    log_dir: str,
    takes_alone: bool = False,
) -> int:
    """Train, serve or evaluate as the member that `TF_CONFIG` names; ends the process with its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    os.environ.update(complete_tf_config(os.environ))
    found = read_tf_config(os.environ)
    if found is None:
        raise InvalidSetting("a member of a cluster needs TF_CONFIG, or the parts that it is built from")
    cluster, member = found
    threads = int(training.get("threads") or os.environ.get(THREADS_VARIABLE) or 0)
    send_heartbeat: SendHeartbeat = HeartbeatFile(folder=Path(folder), member=member)
    if (point := FaultPoint.from_env(os.environ, member)) is not None:
        send_heartbeat = point.wrap(send_heartbeat)

    def work() -> None:
        take_part(
            lambda: load_for_member(module, takes_alone=takes_alone),
            Path(dataset),
            Path(output),
            cluster=cluster,
            member=member,
            params=params,
            settings=TrainingSettings.from_mapping({**training, "threads": threads}),
            log_dir=Path(log_dir) if log_dir else None,
            send_heartbeat=send_heartbeat,
        )

    send_heartbeat(JOINING)
    code = _guarded(work, folder=Path(folder), member=member)
    with contextlib.suppress(OSError):  # a full disk must not change the exit code
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # TensorFlow 2.21 may linger for 20 s after a multi-worker training


def take_part(
    load: Callable[[], ModelModule],
    dataset: Path,
    output: Path,
    *,
    cluster: ClusterSpec,
    member: Member,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    log_dir: Path | None,
    send_heartbeat: SendHeartbeat,
    is_over: Callable[[], bool] | None = None,
) -> TrainingResult | None:
    """Train, serve or evaluate as `member` of the `cluster` that `TF_CONFIG` describes.

    `load` loads the user's module, which a member that serves has no use for; `is_over` tells an evaluator that no
    checkpoint will come any more.

    Returns:
        What a member that trains has trained; None from an evaluator. One that serves never returns.
    """
    if member in servers(cluster):
        serve(settings, is_worker=member.role == "worker", send_heartbeat=send_heartbeat)
    options: dict[str, Any] = {"params": params, "settings": settings, "log_dir": log_dir}
    if member == EVALUATOR:
        run_evaluator(load(), dataset, output, **options, send_heartbeat=send_heartbeat, is_over=is_over)
        return None
    task = TaskContext(cluster=cluster, member=member, send_heartbeat=send_heartbeat)
    return run_training(load(), dataset, output, **options, task=task)


def load_for_member(location: str | Path, *, takes_alone: bool) -> ModelModule:
    """The module, with what the check before the training found of how its model takes its one input."""
    loaded = load_module(location)
    return replace(loaded, taken_input=TakenInput(name="", is_alone=True)) if takes_alone else loaded


def lost_peer_errors() -> tuple[type[Exception], ...]:
    """What TensorFlow raises where another member is gone."""
    import tensorflow as tf

    return (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )


def _guarded(work: Callable[[], None], *, folder: Path, member: Member) -> int:
    peer_lost = lost_peer_errors()
    try:
        work()
    except SystemExit as error:
        return int(error.code or 0)
    except TrainwrightError as error:
        logging.getLogger(__name__).error("%s", error)
        write_error(folder, member, error)
        return error.exit_code
    except peer_lost as error:
        logging.getLogger(__name__).warning("lost a peer: %s", first_line(error))
        return PEER_LOST
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def write_error(folder: Path, member: Member, error: TrainwrightError) -> None:
    """Leave the error that `member` ends with for `read_error`."""
    content = {
        "type": type(error).__name__,
        "message": str(error),
        "user_traceback": error.user_traceback,
    }
    try:
        write_whole(folder / _ERRORS_FOLDER / f"{member}.json", json.dumps(content))
    except OSError as failure:
        logging.getLogger(__name__).warning("the error is only in this log: %s", failure)


def read_error(folder: Path, member: Member) -> TrainwrightError | None:
    """The error that `member` ended with, as it was raised there; None when it left none."""
    file = folder / _ERRORS_FOLDER / f"{member}.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    kind: type[TrainwrightError] = getattr(errors, content["type"], TrainwrightError)
    error = kind(content["message"])
    error.user_traceback = content["user_traceback"]
    return error
