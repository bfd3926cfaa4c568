"""Entry point of `trainwright-model-server`: TensorFlow Serving's flags, one process, both APIs."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.flags import Flags, describe_unknown, parse_flags, usage
from trainwright_components.model_server.models.memory import prepare_memory
from trainwright_components.model_server.operation.workers import Workers
from trainwright_components.processes.die_with_parent import STDIN, watch_pipe
from trainwright_components.processes.exit_codes import INVALID, PORT_TAKEN, START_FAILED

if TYPE_CHECKING:
    from trainwright_components.model_server.server import ModelServer
    from trainwright_components.model_server.status import StatusError

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal says stop; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments:
        print(usage())
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        command_line = parse_flags(arguments)
    except InvalidSetting as error:
        print(f"trainwright-model-server: {error}", file=sys.stderr)
        return INVALID
    if command_line.flags.version:
        print(f"TensorFlow ModelServer: trainwright {version('trainwright')}")
        print(f"TensorFlow Library: {version('tensorflow')}")
        return 0
    for argument in command_line.unknown:
        print(describe_unknown(argument))
    if command_line.unknown:
        print(usage(), flush=True)
    return serve(command_line.flags, arguments)


def serve(flags: Flags, arguments: Sequence[str]) -> NoReturn:
    """Load the models, open the ports and answer until SIGTERM or SIGINT; then drain and leave the process."""
    _leave_on_signal()
    if flags.exit_when_stdin_closes:
        watch_pipe(STDIN, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        code = _serve(flags) if flags.workers == 1 else _have_workers_serve(flags, arguments)
    except SystemExit:  # of the signal
        code = 0
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter takes two seconds to tear TensorFlow down


def _have_workers_serve(flags: Flags, arguments: Sequence[str]) -> int:
    workers = Workers(arguments, flags)
    port = workers.taken_port()
    if port:
        print(f"cannot listen on {flags.bind_address}:{port}: it is in use", file=sys.stderr)
        return PORT_TAKEN
    try:
        return workers.run()
    finally:
        workers.close()


def _serve(flags: Flags) -> int:
    prepare_memory()
    _import_tensorflow_alone()
    from trainwright_components.model_server.server import ModelServer
    from trainwright_components.model_server.status import StatusError

    try:
        server = ModelServer(flags)
    except StatusError as error:
        return _say_why_not(error)
    try:
        return _run(server)
    finally:
        server.close()


def _run(server: "ModelServer") -> int:
    from trainwright_components.model_server.status import StatusError

    try:
        server.load_models()
        server.open_ports()
    except StatusError as error:
        return _say_why_not(error)
    except OSError as error:
        print(error, file=sys.stderr)
        return PORT_TAKEN
    server.run()
    return 0


def _say_why_not(error: "StatusError") -> int:
    print(f"Failed to start server. Error: {error}", file=sys.stderr)
    return START_FAILED


def _import_tensorflow_alone() -> None:
    """Import TensorFlow 2.21 without Keras, which it looks up and thereby imports: a third of the time, 170 MB."""
    if "tensorflow" in sys.modules:
        return  # forked from a process that has imported it, with Keras
    sys.modules["keras"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    import tensorflow  # noqa: F401  # for its effect

    del sys.modules["keras"]


def _leave_on_signal() -> None:
    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


if __name__ == "__main__":
    sys.exit(main())
