"""The command line of `trainwright-model-server`: flags (all of TensorFlow Serving's and a few of ours), exit codes."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import nearest

logger = logging.getLogger(__name__)


LOOPBACK = "127.0.0.1"
DEFAULT_THREADS = 4 * (os.cpu_count() or 1)
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


def _flag(default: Any, text: str, *, may_be_negative: bool = False) -> Any:
    return field(default=default, metadata={"help": text, "may_be_negative": may_be_negative})


def _ours(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": f"{text} (not in TensorFlow Serving)", "is_ours": True})


def _without_effect(default: Any, text: str) -> Any:
    """A flag of TensorFlow Serving that changes nothing here; the log says so when it is given."""
    return field(default=default, metadata={"help": f"{text}; accepted without effect", "has_effect": False})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What the command line asked for."""

    port: int = _flag(8500, "gRPC port; 0 switches it off")
    grpc_socket_path: str = _flag("", "Unix socket on which gRPC listens as well")
    rest_api_port: int = _flag(0, "REST port; 0 switches REST off")
    bind_address: str = _ours(LOOPBACK, "address to listen on; 0.0.0.0 lets other machines in")
    model_name: str = _flag("default", "name of the one model; ignored with a model config file")
    model_base_path: str = _flag("", "folder whose numeric folders are the model's versions")
    model_config_file: str = _flag("", "text proto ModelServerConfig, for several models")
    model_config_file_poll_wait_seconds: float = _flag(
        0, "seconds between looks at the model config file; 0 = never", may_be_negative=True
    )
    file_system_poll_wait_seconds: float = _flag(
        1, "seconds between looks at the base paths; 0 = once, negative = not at all", may_be_negative=True
    )
    rest_api_timeout_in_ms: int = _flag(30_000, "how long a REST request may take")
    rest_api_num_threads: int = _flag(DEFAULT_THREADS, "REST requests computed at once")
    rest_api_enable_cors_support: bool = _flag(False, "let pages of other origins call")
    grpc_max_threads: int = _flag(DEFAULT_THREADS, "gRPC requests computed at once")
    grpc_channel_arguments: str = _flag("", "options of the gRPC server: name=value, comma-separated")
    ssl_config_file: str = _flag("", "text proto SSLConfig: key and certificate for gRPC over TLS")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health")
    enable_model_warmup: bool = _flag(True, "replay a version's warm-up records before it answers")
    num_request_iterations_for_warmup: int = _flag(0, "how often each warm-up record is replayed, if over 0")
    num_load_threads: int = _flag(0, "versions loaded at once; 0 = a small number")
    num_unload_threads: int = _flag(0, "versions unloaded at once; 0 = a small number")
    max_num_load_retries: int = _flag(5, "further attempts after a version failed to load")
    load_retry_interval_micros: int = _flag(
        60_000_000, "microseconds between two attempts; negative = none", may_be_negative=True
    )
    allow_version_labels_for_unavailable_models: bool = _flag(False, "new labels may point to versions not loaded yet")
    enable_serialization_as_tensor_content: bool = _flag(False, "gRPC answers hold raw bytes instead of typed values")
    enable_signature_method_name_check: bool = _flag(
        False, "refuse signatures that do not name the method they are asked by; TensorFlow 2 writes predict into all"
    )
    saved_model_tags: str = _flag("serve", "comma-separated tags of the MetaGraph to load")
    tensorflow_session_config_file: str = _flag("", "text proto ConfigProto of each session; thread flags override it")
    tensorflow_session_parallelism: int = _flag(0, "threads of a session, within and between operations; 0 = auto")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads within one operation; 0 = auto")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations computed at once; 0 = auto")
    per_process_gpu_memory_fraction: float = _flag(0.0, "share of a GPU's memory that may be used; 0 = auto")
    enable_batching: bool = _flag(False, "compute requests that wait at the same time together")
    batching_parameters_file: str = _flag("", "text proto BatchingParameters; needs --enable_batching")
    enable_per_model_batching_parameters: bool = _flag(False, "a version's batching_params.pbtxt goes before the file")
    monitoring_config_file: str = _flag("", "text proto MonitoringConfig: where Prometheus reads metrics over REST")
    prefer_tflite_model: bool = _flag(False, "serve model.tflite where a version has one")
    num_tflite_pools: int = _flag(os.cpu_count() or 1, "pools of TFLite interpreters of a version")
    num_tflite_interpreters_per_pool: int = _flag(1, "TFLite interpreters in a pool")
    make_up_warmup: bool = _ours(True, "compute each signature once on zeros where a version has no warm-up records")
    api_key: str = _ours("", "key that requests must carry; a file or TRAINWRIGHT_API_KEY keep it off the process list")
    api_key_file: str = _ours("", "file that holds the key that requests must carry")
    rest_api_ssl_config_file: str = _ours("", "text proto SSLConfig: key and certificate for REST over TLS")
    rest_api_max_request_bytes: int = _ours(100 << 20, "largest REST body, as sent and unpacked")
    custom_op_libraries: str = _ours("", "shared libraries with operations that models need, comma-separated")
    workers: int = _ours(1, "processes on the same ports, each with all models; reloads then come by the config file")
    shares_ports: bool = _ours(False, "listen beside other processes on the same ports, as one of the workers")
    resource_preserving: bool = _ours(False, "unload before loading: less memory, and no answers in between")
    require_models: bool = _ours(True, "leave when a model cannot be loaded; false: serve the others")
    exit_when_stdin_closes: bool = _ours(False, "end with the process that started it")
    version: bool = _flag(False, "print the version and leave")

    enable_profiler: bool = _without_effect(True, "profiler service")
    flush_filesystem_caches: bool = _without_effect(True, "local files have no caches to flush")
    mixed_precision: str = _without_effect("", "mixed precision mode")
    platform_config_file: str = _without_effect("", "text proto PlatformConfigMap")
    remove_unused_fields_from_bundle_metagraph: bool = _without_effect(False, "keep the signatures alone in memory")
    skip_initialize_tpu: bool = _without_effect(False, "do not initialise TPUs")
    thread_pool_factory_config_file: str = _without_effect("", "text proto ThreadPoolConfig")
    use_alts_credentials: bool = _without_effect(False, "ALTS for gRPC")
    xla_cpu_compilation_enabled: bool = _without_effect(False, "XLA on CPUs")
    xla_gpu_compilation_enabled: bool = _without_effect(False, "XLA on GPUs")


_KNOWN = {item.name: item for item in fields(Flags)}


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Flags, and the arguments that are none."""

    flags: Flags
    unknown: tuple[str, ...]


def parse_flags(arguments: Sequence[str]) -> CommandLine:
    """Read `--name=value` arguments; a bare `--name` of a boolean means true, other bare names are unknown.

    Raises:
        InvalidSetting: A value of the wrong type, or settings that contradict each other.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        is_flag = argument.startswith("--") and name in _KNOWN
        if not is_flag or (not equals and not isinstance(_KNOWN[name].default, bool)):
            unknown.append(argument)
            continue
        if not _KNOWN[name].metadata.get("has_effect", True):
            logger.warning("flag --%s is accepted and has no effect in this server", name)
        values[name] = _value(name, text if equals else "true")
    flags = Flags(**values)
    _check(flags)
    return CommandLine(flags=flags, unknown=tuple(unknown))


def describe_unknown(argument: str) -> str:
    """What to say about an argument that is not a flag."""
    name = argument.removeprefix("--").partition("=")[0]
    if name in _KNOWN:
        return f"unknown argument: {argument} (flags are written --{name}=VALUE)"
    near = nearest(name, _KNOWN)
    return f"unknown argument: {argument}" + (f" (did you mean --{near}?)" if near else "")


def usage() -> str:
    """One line per flag."""
    lines = ["usage: trainwright-model-server [--name=value]...", ""]
    for item in _KNOWN.values():
        default = "" if item.default == "" else f" [{str(item.default).lower()}]"
        lines.append(f"  --{item.name}={type(item.default).__name__}\n        {item.metadata['help']}{default}")
    return "\n".join(lines)


def _value(name: str, text: str) -> Any:
    default = _KNOWN[name].default
    if isinstance(default, bool):
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise InvalidSetting(f"--{name} must be true or false, got {text!r}")
    if isinstance(default, int | float):
        kind = int if _KNOWN[name].type is int else float
        try:
            number = kind(text)
        except ValueError as error:
            raise InvalidSetting(f"--{name} must be a number, got {text!r}") from error
        if number < 0 and not _KNOWN[name].metadata.get("may_be_negative", False):
            raise InvalidSetting(f"--{name} must not be negative, got {text}")
        return number
    return text


def _check(flags: Flags) -> None:
    if flags.version:
        return
    if not flags.port and not flags.grpc_socket_path:
        raise InvalidSetting("--port is 0 and --grpc_socket_path is empty: gRPC must listen somewhere")
    if not flags.model_base_path and not flags.model_config_file:
        raise InvalidSetting("give --model_base_path=FOLDER or --model_config_file=FILE")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise InvalidSetting("--batching_parameters_file is set without setting --enable_batching to true")
    if flags.workers < 1:
        raise InvalidSetting(f"--workers must be at least 1, got {flags.workers}")
    if flags.workers > 1:
        _check_workers(flags)
    if flags.per_process_gpu_memory_fraction > 1:
        raise InvalidSetting(
            f"--per_process_gpu_memory_fraction must be at most 1, got {flags.per_process_gpu_memory_fraction}"
        )
    if flags.tensorflow_session_parallelism and (
        flags.tensorflow_intra_op_parallelism or flags.tensorflow_inter_op_parallelism
    ):
        raise InvalidSetting(
            "--tensorflow_session_parallelism already sets both --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism: give one or the other"
        )


def _check_workers(flags: Flags) -> None:
    if flags.monitoring_config_file:
        raise InvalidSetting("--workers over 1 and --monitoring_config_file: each read would show one of the workers")
    if flags.grpc_socket_path:
        raise InvalidSetting("--workers over 1 and --grpc_socket_path: processes cannot share a Unix socket")
