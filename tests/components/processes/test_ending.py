import signal
import subprocess
import sys

import pytest

from trainwright_components.processes.ending import end_process


def started(*, ignores_sigterm: bool) -> "subprocess.Popen[bytes]":
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if ignores_sigterm else "pass"
    program = f"import signal, time; {ignore}; print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    return process


@pytest.mark.parametrize(("ignores_sigterm", "number"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_process_is_asked_and_then_killed(ignores_sigterm: bool, number: int) -> None:
    process = started(ignores_sigterm=ignores_sigterm)
    end_process(process, timeout_s=0.3 if ignores_sigterm else 60)
    assert process.returncode == -number
    end_process(process, timeout_s=1)  # nothing more happens to one that has ended
    assert process.stdin is not None
    assert process.stdin.closed
