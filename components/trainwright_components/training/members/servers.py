"""Workers and parameter servers: processes that serve a chief until they are ended."""

import logging
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from trainwright_components.cluster.heartbeats import JOINED, SendHeartbeat
from trainwright_components.processes.ending import SAVE_S
from trainwright_components.processes.exit_codes import TERMINATED
from trainwright_components.training.configuration.devices import (
    configuration_of_server,
    configure_devices,
    configure_without_gpus,
)
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.strategies.parameter_server import prepare_to_connect

logger = logging.getLogger(__name__)

_BEAT_S = 1.0
_LEAST_THREADS = 4  # with fewer, TensorFlow's server can wait for itself


def serve(settings: TrainingSettings, *, is_worker: bool, send_heartbeat: SendHeartbeat) -> NoReturn:
    """Serve as the member that `TF_CONFIG` names, until SIGTERM and the seconds in which the chief saves are over.

    Args:
        settings: Of them, those of devices and threads.
        is_worker: It computes, on the GPUs that the settings leave it; a parameter server sees none.
        send_heartbeat: Says that it is there.

    Raises:
        InvalidSetting: A setting of devices cannot be used here.
        SystemExit: SIGTERM came; the code is 143.
    """
    import tensorflow as tf

    prepare_to_connect()
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    for without_effect in (configure_devices if is_worker else configure_without_gpus)(settings):
        logger.warning(without_effect)
    config = configuration_of_server()
    config.inter_op_parallelism_threads = max(config.inter_op_parallelism_threads, _LEAST_THREADS)
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol="grpc",
        config=config,
        start=True,
    )
    asked = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, note)
    while not asked.is_set():
        send_heartbeat(JOINED)
        asked.wait(_BEAT_S)
    until = time.monotonic() + SAVE_S  # the chief still needs the variables to save them
    while time.monotonic() < until:
        time.sleep(_BEAT_S)
    del server
    raise SystemExit(TERMINATED)
