"""The flags of `trainwright-model-server`: TensorFlow Serving's names, `--name=value`, and a few of our own."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from trainwright_components.errors import InvalidSetting

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

# TensorFlow Serving has these too; here they change nothing, and the log says so.
ACCEPTED_WITHOUT_EFFECT = frozenset(
    {
        "batching_parameters_file",
        "enable_batching",
        "enable_grpc_healthcheck_service",
        "enable_per_model_batching_parameters",
        "enable_profiler",
        "enable_signature_method_name_check",
        "flush_filesystem_caches",
        "grpc_channel_arguments",
        "grpc_socket_path",
        "mixed_precision",
        "monitoring_config_file",
        "num_tflite_interpreters_per_pool",
        "num_tflite_pools",
        "num_unload_threads",
        "per_process_gpu_memory_fraction",
        "platform_config_file",
        "prefer_tflite_model",
        "remove_unused_fields_from_bundle_metagraph",
        "skip_initialize_tpu",
        "ssl_config_file",
        "tensorflow_session_config_file",
        "thread_pool_factory_config_file",
        "use_alts_credentials",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    }
)


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What the command line asked for."""

    port: int = _flag(8500, "gRPC port; 0 switches gRPC off")
    rest_api_port: int = _flag(0, "REST port; 0 switches REST off")
    bind_address: str = _flag(
        LOOPBACK, "address to listen on; 0.0.0.0 lets other machines in (not in TensorFlow Serving)"
    )
    model_name: str = _flag("default", "name of the one model; ignored with a model config file")
    model_base_path: str = _flag("", "folder whose numeric folders are the model's versions")
    model_config_file: str = _flag("", "text proto ModelServerConfig, for several models")
    model_config_file_poll_wait_seconds: float = _flag(0, "seconds between looks at the model config file; 0 = never")
    file_system_poll_wait_seconds: float = _flag(1, "seconds between looks at the base paths; 0 = at start only")
    rest_api_timeout_in_ms: int = _flag(30_000, "how long a REST request may take")
    rest_api_num_threads: int = _flag(0, "REST requests computed at once; 0 = 4 per core")
    rest_api_enable_cors_support: bool = _flag(False, "let pages of other origins call")
    grpc_max_threads: int = _flag(0, "gRPC requests computed at once; 0 = 4 per core")
    enable_model_warmup: bool = _flag(True, "replay a version's warm-up records before it answers")
    num_request_iterations_for_warmup: int = _flag(0, "how often each warm-up record is replayed")
    num_load_threads: int = _flag(0, "versions loaded at once; 0 = a small number")
    max_num_load_retries: int = _flag(5, "further attempts after a version failed to load")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two attempts")
    allow_version_labels_for_unavailable_models: bool = _flag(False, "new labels may point to versions not loaded yet")
    enable_serialization_as_tensor_content: bool = _flag(False, "gRPC answers hold raw bytes instead of typed values")
    saved_model_tags: str = _flag("serve", "comma-separated tags of the MetaGraph to load")
    tensorflow_session_parallelism: int = _flag(0, "threads of a session, within and between operations; 0 = auto")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within one operation; 0 = auto")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations computed at once; 0 = auto")
    require_models: bool = _flag(
        True, "leave when a model cannot be loaded; false: serve the others (not in TensorFlow Serving)"
    )
    exit_when_stdin_closes: bool = _flag(False, "end with the process that started it (not in TensorFlow Serving)")
    version: bool = _flag(False, "print the version and leave")


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Read `--name=value` arguments; a bare `--name` of a boolean means true.

    Raises:
        InvalidSetting: An unknown flag, a value of the wrong type, or settings that contradict each other.
    """
    known = {item.name: item for item in fields(Flags)}
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            raise InvalidSetting(f"cannot read argument {argument!r}; flags are written --name=value")
        if name in ACCEPTED_WITHOUT_EFFECT:
            logger.warning("flag --%s is accepted and has no effect in this server", name)
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean --{close[0]}?" if close else "; see --help"
            raise InvalidSetting(f"unknown flag --{name}{hint}")
        values[name] = _value(name, text if equals else None, known[name].default)
    flags = Flags(**values)
    _check(flags)
    return flags


def usage() -> str:
    """One line per flag."""
    lines = ["usage: trainwright-model-server [--name=value]...", ""]
    for item in fields(Flags):
        default = "" if item.default is MISSING or item.default == "" else f" [{item.default}]"
        lines.append(f"  --{item.name}={type(item.default).__name__}\n        {item.metadata['help']}{default}")
    lines += ["", "accepted without effect: " + ", ".join(sorted(ACCEPTED_WITHOUT_EFFECT))]
    return "\n".join(lines)


def _value(name: str, text: str | None, default: Any) -> Any:
    if isinstance(default, bool):
        if text is None or text.lower() in {"true", "1", "yes"}:
            return True
        if text.lower() in {"false", "0", "no"}:
            return False
        raise InvalidSetting(f"--{name} must be true or false, got {text!r}")
    if text is None:
        raise InvalidSetting(f"--{name} needs a value: --{name}=VALUE")
    if isinstance(default, int):
        kind = float if name.endswith("_seconds") else int
        try:
            number = kind(text)
        except ValueError as error:
            raise InvalidSetting(f"--{name} must be a number, got {text!r}") from error
        if number < 0:
            raise InvalidSetting(f"--{name} must not be negative, got {text}")
        return number
    return text


def _check(flags: Flags) -> None:
    if flags.version:
        return
    if not flags.port and not flags.rest_api_port:
        raise InvalidSetting("both --port and --rest_api_port are 0: nothing would listen")
    if not flags.model_base_path and not flags.model_config_file:
        raise InvalidSetting("give --model_base_path=FOLDER or --model_config_file=FILE")
    if flags.tensorflow_session_parallelism and (
        flags.tensorflow_intra_op_parallelism or flags.tensorflow_inter_op_parallelism
    ):
        raise InvalidSetting(
            "--tensorflow_session_parallelism already sets both --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism: give one or the other"
        )
