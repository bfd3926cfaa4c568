"""Several serving processes on the same ports, for more cores than one process of Python uses; no TensorFlow here.

The kernel spreads connections over the processes (SO_REUSEPORT). Each loads the models itself. They end with this one.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from trainwright_components.model_server.flags import Flags
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.ports import is_port_free
from trainwright_components.processes.restarts import Restarts

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_STOP_S = 30


class Workers:
    """The processes of one server.

    Args:
        arguments: The command line; each worker gets it with settings of its own at the end.
        flags: What it says.
    """

    def __init__(self, arguments: Sequence[str], flags: Flags) -> None:
        threads = max(1, (os.cpu_count() or 1) // flags.workers)
        own = ["--workers=1", "--shares_ports=true", "--exit_when_stdin_closes=true"]
        if not (
            flags.tensorflow_session_parallelism
            or flags.tensorflow_intra_op_parallelism
            or flags.tensorflow_inter_op_parallelism
            or flags.tensorflow_session_config_file
        ):
            own.append(f"--tensorflow_session_parallelism={threads}")
        self._command = [sys.executable, "-m", "trainwright_components.model_server.main", *arguments, *own]
        self._flags = flags
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started: list[float] = []
        self._restarts = [Restarts() for _ in range(flags.workers)]

    def taken_port(self) -> int:
        """A port of the flags that another program has; 0 if there is none."""
        ports = (self._flags.port, self._flags.rest_api_port)
        return next((port for port in ports if port and not is_port_free(port, self._flags.bind_address)), 0)

    def run(self) -> int:
        """Start the workers and keep them alive; returns the exit code of one that could not even start.

        A worker that ends later is started again. Only a signal, as an exception, ends this otherwise.
        """
        for _ in range(self._flags.workers):
            self._processes.append(self._start())
            self._started.append(time.monotonic())
        while True:
            time.sleep(_POLL_S)
            for index, process in enumerate(self._processes):
                code = process.poll()
                if code is not None and not self._start_again(index, code):
                    return code

    def close(self) -> None:
        """Have every worker finish the requests under way, and end."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            end_process(process, timeout_s=_STOP_S)

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def _start_again(self, index: int, code: int) -> bool:
        """Replace a worker that ended; False if it ended by its own decision, which another would repeat."""
        lived_s = time.monotonic() - self._started[index]
        restarts = self._restarts[index]
        if code > 0 and restarts.is_early(lived_s) and not restarts.failures:
            return False
        restarts.note_end(lived_s)
        logger.warning("worker %d ended with code %d; starting another", index, code)
        time.sleep(restarts.wait_s)
        self._processes[index] = self._start()
        self._started[index] = time.monotonic()
        return True
