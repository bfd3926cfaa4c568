"""The command line and the config file: what is read, what is refused and in which words."""

import os
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.core.model_config import (
    read_config_file,
    read_model_configs,
    single_model_config,
)
from trainwright_components.model_server.flags import Flags, describe_unknown, parse_flags, usage
from trainwright_components.model_server.manager.version_policy import All, Latest, Specific
from trainwright_components.model_server.status import Code, StatusError


def test_flags_are_read_as_tensorflow_serving_writes_them() -> None:
    flags = parse_flags(
        [
            "--port=9000",
            "--rest_api_port=8080",
            "--model_name=m",
            "--model_base_path=/models/m",
            "--rest_api_timeout_in_ms=60000",
            "--enable_model_warmup=false",
            "--rest_api_enable_cors_support",
        ]
    ).flags
    assert flags == Flags(
        port=9000,
        rest_api_port=8080,
        model_name="m",
        model_base_path="/models/m",
        rest_api_timeout_in_ms=60_000,
        enable_model_warmup=False,
        rest_api_enable_cors_support=True,
    )


def test_flags_without_effect_are_said(caplog: pytest.LogCaptureFixture) -> None:
    assert parse_flags(["--model_base_path=/m", "--use_alts_credentials=true"]).flags.model_base_path == "/m"
    assert "--use_alts_credentials is accepted and has no effect" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port=x"], "--port must be a number, got 'x'"),
        (["--port=-1"], "--port must not be negative"),
        (["--port=8500.5"], "--port must be a number"),
        (["--use_alts_credentials=maybe"], "--use_alts_credentials must be true or false"),
        (["--enable_model_warmup=maybe"], "--enable_model_warmup must be true or false"),
        ([], "give --model_base_path=FOLDER or --model_config_file=FILE"),
        (["--port=0", "--model_base_path=/m"], "gRPC must listen somewhere"),
        (
            ["--model_base_path=/m", "--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"],
            "give one or the other",
        ),
    ],
)
def test_flags_that_cannot_be_used_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        parse_flags(arguments)


def test_what_is_no_flag_is_left_over() -> None:
    line = parse_flags(["--model_base_path=/m", "--prot=1", "port=1", "--port", "8501", "--enable_model_warmup"])
    assert line.unknown == ("--prot=1", "port=1", "--port", "8501")
    assert line.flags == Flags(model_base_path="/m")
    assert [describe_unknown(argument) for argument in line.unknown] == [
        "unknown argument: --prot=1 (did you mean --port?)",
        "unknown argument: port=1 (flags are written --port=VALUE)",
        "unknown argument: --port (flags are written --port=VALUE)",
        "unknown argument: 8501",
    ]


def test_waits_may_be_negative() -> None:
    flags = parse_flags(
        ["--model_base_path=/m", "--load_retry_interval_micros=-1", "--file_system_poll_wait_seconds=-1"]
    ).flags
    assert (flags.load_retry_interval_micros, flags.file_system_poll_wait_seconds) == (-1, -1)


def test_the_program_refuses_values_without_importing_tensorflow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "trainwright_components.model_server.main", "--port=x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--port must be a number" in done.stderr
    assert "tensorflow" not in done.stderr


def test_the_program_says_its_versions() -> None:
    command = [sys.executable, "-m", "trainwright_components.model_server.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("TensorFlow ModelServer: ")
    assert f"TensorFlow Library: {version('tensorflow')}" in done.stdout


# Of tensorflow_model_server 2.21; name, type and default as its --help prints them.
TENSORFLOW_SERVING_FLAGS = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_num_threads": 4 * (os.cpu_count() or 1),
    "rest_api_timeout_in_ms": 30_000,
    "rest_api_enable_cors_support": False,
    "enable_batching": False,
    "allow_version_labels_for_unavailable_models": False,
    "batching_parameters_file": "",
    "enable_per_model_batching_parameters": False,
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": 0,
    "model_name": "default",
    "model_base_path": "",
    "num_load_threads": 0,
    "num_unload_threads": 0,
    "max_num_load_retries": 5,
    "load_retry_interval_micros": 60_000_000,
    "file_system_poll_wait_seconds": 1,
    "flush_filesystem_caches": True,
    "tensorflow_session_parallelism": 0,
    "tensorflow_session_config_file": "",
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "use_alts_credentials": False,
    "ssl_config_file": "",
    "platform_config_file": "",
    "per_process_gpu_memory_fraction": 0.0,
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "",
    "grpc_max_threads": 4 * (os.cpu_count() or 1),
    "enable_model_warmup": True,
    "num_request_iterations_for_warmup": 0,
    "version": False,
    "monitoring_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": False,
    "prefer_tflite_model": False,
    "num_tflite_pools": os.cpu_count() or 1,
    "num_tflite_interpreters_per_pool": 1,
    "enable_signature_method_name_check": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
    "enable_profiler": True,
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "skip_initialize_tpu": False,
    "enable_grpc_healthcheck_service": False,
    "enable_serialization_as_tensor_content": False,
}


def test_every_flag_of_tensorflow_serving_is_there_with_its_default() -> None:
    assert len(TENSORFLOW_SERVING_FLAGS) == 48
    theirs = {item.name: item.default for item in fields(Flags) if not item.metadata.get("is_ours")}
    assert theirs == TENSORFLOW_SERVING_FLAGS
    assert {name: type(default) for name, default in theirs.items()} == {
        name: type(default) for name, default in TENSORFLOW_SERVING_FLAGS.items()
    }


def test_help_names_every_flag() -> None:
    text = usage()
    assert all(f"--{name}=" in text for name in Flags.__dataclass_fields__)


CONFIG = """
model_config_list {
  config { name: "a" base_path: "/a" model_platform: "tensorflow" }
  config { name: "b" base_path: "/b" model_platform: "tensorflow" model_version_policy { latest { num_versions: 3 } } }
  config { name: "c" base_path: "/c" model_platform: "tensorflow" model_version_policy { all {} } }
  config {
    name: "d" base_path: "/d" model_platform: "tensorflow"
    model_version_policy { specific { versions: 4 versions: 2 } }
    version_labels { key: "stable" value: 2 }
  }
}
"""


def test_a_config_file_names_models_policies_and_labels(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(CONFIG)
    models = {model.source.name: model for model in read_model_configs(read_config_file(file))}
    assert [models[name].source.policy for name in "abcd"] == [
        Latest(1),
        Latest(3),
        All(),
        Specific(frozenset({2, 4})),
    ]
    assert models["d"].labels == {"stable": 2}
    assert models["a"].source.base_path == Path("/a")


def test_flags_for_one_model_make_the_same_configuration() -> None:
    (model,) = read_model_configs(single_model_config("m", "/base"))
    assert (model.source.name, model.source.base_path) == ("m", Path("/base"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('base_path: "/a" model_platform: "tensorflow"', "to have a name"),
        ('name: "a" base_path: "/a"', "Illegal setting neither ModelServerConfig::model_type"),
        ('name: "a" base_path: "/a" model_platform: "other"', "Model a requests unsupported platform other"),
        ('name: "a" base_path: "a" model_platform: "tensorflow"', "to have an absolute path or URI"),
        ('name: "a" base_path: "gs://a" model_platform: "tensorflow"', "only folders of this machine can be served"),
        ('name: "a" base_path: "/a" model_platform: "tensorflow" model_type: TENSORFLOW', "Illegal setting both"),
        ('name: "a" base_path: "/a" model_type: OTHER', "model_type choice 2 not supported"),
        (
            'name: "a" base_path: "/a" model_platform: "tensorflow" } config { name: "a" base_path: "/b" '
            'model_platform: "tensorflow"',
            "Illegal to list model a multiple times",
        ),
        (
            'name: "a" base_path: "/a" model_platform: "tensorflow" model_version_policy { specific {} }',
            "needs at least one version",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, entry: str, message: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    with pytest.raises(StatusError, match=message):
        read_model_configs(read_config_file(file))


def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="No such file") as missing:
        read_config_file(tmp_path / "missing")
    assert missing.value.code is Code.NOT_FOUND
    (tmp_path / "broken").write_text("model_config_list {")
    with pytest.raises(StatusError, match=r"Error parsing text-format tensorflow.serving.ModelServerConfig"):
        read_config_file(tmp_path / "broken")
