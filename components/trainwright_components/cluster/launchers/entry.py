"""What a member's container runs: `python -m trainwright_components.cluster.launchers.entry TARGET ARGUMENTS`.

TARGET is `package.module:function`, ARGUMENTS are its keyword arguments as JSON. Its place in the cluster comes from
`TF_CONFIG`, or from the parts that Kubernetes' Indexed Job gives. The exit code is the function's integer result.
"""

import importlib
import json
import os
import signal
import sys
import threading
from importlib.metadata import version
from types import FrameType

from trainwright_components.cluster.tf_config import complete_tf_config
from trainwright_components.processes.exit_codes import INVALID, TERMINATED

VERSION_VARIABLE = "TRAINWRIGHT_VERSION"  # of whoever started this, which has to be the image's too
LIFELINE_VARIABLE = "TRAINWRIGHT_LIFELINE"  # "stdin": the end of standard input says that whoever started this is gone


def main() -> None:
    """Call the target and leave with its exit code; SIGTERM ends what has not yet learnt to save."""
    signal.signal(signal.SIGTERM, _leave)  # as first process of a container it would not even be noticed
    if os.environ.get(LIFELINE_VARIABLE) == "stdin":
        threading.Thread(target=_watch_stdin, daemon=True, name="lifeline").start()
    wanted, own = os.environ.get(VERSION_VARIABLE), version("trainwright")
    if wanted and wanted != own:
        print(
            f"this image has trainwright {own}, but {wanted} started it: build the image from that version", flush=True
        )
        sys.exit(INVALID)
    os.environ.update(complete_tf_config(os.environ))
    target, arguments = sys.argv[1:]
    module, _, name = target.partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    sys.exit(result if isinstance(result, int) else 0)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _watch_stdin() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
