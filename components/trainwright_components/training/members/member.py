"""One member of a training cluster, as launchers start it: what goes wrong becomes an exit code and a file."""

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trainwright_components import errors
from trainwright_components.cluster.fault_points import FaultPoint
from trainwright_components.cluster.heartbeats import JOINING, HeartbeatFile, SendHeartbeat
from trainwright_components.cluster.launchers.protocol import THREADS_VARIABLE
from trainwright_components.cluster.rules import EVALUATOR, servers
from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import complete_tf_config, read_tf_config
from trainwright_components.errors import InvalidSetting, TrainwrightError, first_line
from trainwright_components.files import write_whole
from trainwright_components.processes.exit_codes import DONE, FAILED, PEER_LOST
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.members.evaluator import run_evaluator
from trainwright_components.training.members.servers import serve
from trainwright_components.training.run import run_training
from trainwright_components.training.task_context import TaskContext
from trainwright_components.user_module.model_inputs import TakenInput
from trainwright_components.user_module.module import load_module

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

    settings = partial(TrainingSettings.from_mapping, {**training, "threads": threads})

    def run(work: Callable[..., Any], **task: Any) -> None:
        loaded = load_module(module)
        work(
            replace(loaded, taken_input=TakenInput(name="", is_alone=True)) if takes_alone else loaded,
            Path(dataset),
            Path(output),
            params=params,
            settings=settings(),
            log_dir=Path(log_dir) if log_dir else None,
            **task,
        )

    send_heartbeat(JOINING)
    if member in servers(cluster):
        work = lambda: serve(settings(), is_worker=member.role == "worker", send_heartbeat=send_heartbeat)  # noqa: E731
    elif member == EVALUATOR:
        work = partial(run, run_evaluator, send_heartbeat=send_heartbeat)
    else:
        work = partial(
            run, run_training, task=TaskContext(cluster=cluster, member=member, send_heartbeat=send_heartbeat)
        )
    code = _guarded(work, folder=Path(folder), member=member)
    with contextlib.suppress(OSError):  # a full disk must not change the exit code
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # TensorFlow 2.21 may linger for 20 s after a multi-worker training


def _guarded(work: Callable[[], None], *, folder: Path, member: Member) -> int:
    import tensorflow as tf

    peer_lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    try:
        work()
    except SystemExit as error:
        return int(error.code or 0)
    except TrainwrightError as error:
        logging.getLogger(__name__).error("%s", error)
        _write_error(folder, member, error)
        return error.exit_code
    except peer_lost as error:
        logging.getLogger(__name__).warning("lost a peer: %s", first_line(error))
        return PEER_LOST
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def _write_error(folder: Path, member: Member, error: TrainwrightError) -> None:
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
