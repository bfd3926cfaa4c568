"""Workers and parameter servers: processes that serve a chief until they are ended."""

import os
import signal
import threading
import time
from types import FrameType

from trainwright_components.cluster.exit_codes import TERMINATED
from trainwright_components.cluster.signs import JOINED, SaySign

_BEAT_S = 1.0
_GRACE_S = 20.0  # the chief still needs the variables to save them
_LEAST_THREADS = 4  # with fewer, TensorFlow's server can wait for itself


def serve(*, threads: int, sign_of_life: SaySign) -> None:
    """Serve as the member that `TF_CONFIG` names, until SIGTERM and the seconds in which the chief saves are over.

    Raises:
        SystemExit: SIGTERM came; the code is 143.
    """
    import tensorflow as tf

    prepare_to_connect()
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=max(threads, _LEAST_THREADS)
    )
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
        sign_of_life(JOINED)
        asked.wait(_BEAT_S)
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until:
        time.sleep(_BEAT_S)
    del server
    raise SystemExit(TERMINATED)


def prepare_to_connect() -> None:
    """Have a member that is gone be noticed at once, not after a connection has timed out."""
    os.environ["GRPC_FAIL_FAST"] = "use_caller"
