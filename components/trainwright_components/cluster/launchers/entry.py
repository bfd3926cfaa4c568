"""What a member's container runs: `python -m trainwright_components.cluster.launchers.entry TARGET ARGUMENTS`.

TARGET is `package.module:function`, ARGUMENTS are its keyword arguments as JSON. Its place in the cluster comes from
`TF_CONFIG`, or from the parts that Kubernetes' Indexed Job gives. The exit code is the function's integer result.
"""

import importlib
import json
import os
import signal
import sys
from importlib.metadata import version
from types import FrameType

from trainwright_components.cluster.tf_config import complete_tf_config
from trainwright_components.processes.die_with_parent import STDIN, watch_pipe
from trainwright_components.processes.exit_codes import INVALID, TERMINATED

VERSION_VARIABLE = "TRAINWRIGHT_VERSION"  # of whoever started this, which has to be the image's too
PIPE_VARIABLE = "TRAINWRIGHT_DIE_WITH_PARENT"  # "stdin": standard input is a pipe of whoever started this


def main() -> None:
    """Call the target and leave with its exit code; SIGTERM ends what has not yet learnt to save."""
    signal.signal(signal.SIGTERM, _leave)  # as first process of a container it would not even be noticed
    if os.environ.get(PIPE_VARIABLE) == "stdin":
        watch_pipe(STDIN, lambda: os.kill(os.getpid(), signal.SIGKILL))
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


if __name__ == "__main__":
    main()
