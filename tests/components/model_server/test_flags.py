"""The command line and the config file: what is read, what is refused and in which words."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.flags import Flags, parse_flags, usage
from trainwright_components.model_server.model_config import read_config_file, served_models, single_model_config
from trainwright_components.model_server.status import Code, StatusError
from trainwright_components.model_server.version_policy import All, Latest, Specific


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
    )
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
    assert parse_flags(["--model_base_path=/m", "--enable_batching=true"]).model_base_path == "/m"
    assert "--enable_batching is accepted and has no effect" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot=1"], r"unknown flag --prot; did you mean --port\?"),
        (["port=1"], "cannot read argument 'port=1'; flags are written --name=value"),
        (["--port=x"], "--port must be a number, got 'x'"),
        (["--port=-1"], "--port must not be negative"),
        (["--model_base_path"], "--model_base_path needs a value"),
        (["--enable_model_warmup=maybe"], "--enable_model_warmup must be true or false"),
        ([], "give --model_base_path=FOLDER or --model_config_file=FILE"),
        (["--port=0", "--model_base_path=/m"], "nothing would listen"),
        (
            ["--model_base_path=/m", "--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"],
            "give one or the other",
        ),
    ],
)
def test_flags_that_cannot_be_used_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        parse_flags(arguments)


def test_the_program_refuses_flags_without_importing_tensorflow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "trainwright_components.model_server.main", "--prot=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "did you mean --port?" in done.stderr
    assert "tensorflow" not in done.stderr


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
    models = {model.source.name: model for model in served_models(read_config_file(file))}
    assert [models[name].source.policy for name in "abcd"] == [
        Latest(1),
        Latest(3),
        All(),
        Specific(frozenset({2, 4})),
    ]
    assert models["d"].labels == {"stable": 2}
    assert models["a"].source.base_path == Path("/a")


def test_flags_for_one_model_make_the_same_configuration() -> None:
    (model,) = served_models(single_model_config("m", "/base"))
    assert (model.source.name, model.source.base_path) == ("m", Path("/base"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('base_path: "/a" model_platform: "tensorflow"', "to have a name"),
        ('name: "a" base_path: "/a"', "Illegal setting neither model_type"),
        ('name: "a" base_path: "/a" model_platform: "other"', "Unknown model platform 'other' of model a"),
        ('name: "a" base_path: "a" model_platform: "tensorflow"', "to have an absolute path or URI"),
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
        served_models(read_config_file(file))


def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="No such file") as missing:
        read_config_file(tmp_path / "missing")
    assert missing.value.code is Code.NOT_FOUND
    (tmp_path / "broken").write_text("model_config_list {")
    with pytest.raises(StatusError, match=r"Error parsing text-format tensorflow.serving.ModelServerConfig"):
        read_config_file(tmp_path / "broken")
