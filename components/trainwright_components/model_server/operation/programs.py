"""The programs that can serve: this package's own server, and TensorFlow Serving's where it is installed."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.flags import Flags
from trainwright_components.model_server.operation.process import flag_arguments, server_command
from trainwright_components.processes.die_with_parent import command_with_parent

OURS = "trainwright"
TENSORFLOW_SERVING = "tensorflow_model_server"
PROGRAMS = (OURS, TENSORFLOW_SERVING)

_OUR_FLAGS = frozenset(item.name for item in fields(Flags) if item.metadata.get("is_ours"))

Command = Callable[[Mapping[str, object]], list[str]]


def program_command(program: str) -> Command:
    """The function that makes a command line of flags for `program`.

    Raises:
        InvalidSetting: There is no such program, or it is not on the PATH.
    """
    if program == OURS:
        return server_command
    if program != TENSORFLOW_SERVING:
        raise InvalidSetting(f"no server {program!r}; there are {' and '.join(PROGRAMS)}")
    found = shutil.which(program)
    if found is None:
        raise InvalidSetting(f"{program} is not on the PATH: install it, or serve with {OURS}")
    return lambda flags: command_with_parent([found, *flag_arguments(_their_flags(flags))])


def _their_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """`flags` without ours, and with waits in whole seconds, which is all that TensorFlow Serving can read."""
    theirs = {name: value for name, value in flags.items() if name not in _OUR_FLAGS}
    return {name: math.ceil(value) if isinstance(value, float) else value for name, value in theirs.items()}
