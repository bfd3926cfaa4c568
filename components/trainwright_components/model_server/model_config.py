"""The model config file: a `ModelServerConfig` text proto, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.source import MonitoredModel
from trainwright_components.model_server.status import Code, StatusError, invalid_argument
from trainwright_components.model_server.version_policy import All, Latest, Specific, VersionPolicy

PLATFORM = "tensorflow"


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One entry of the configuration."""

    source: MonitoredModel
    labels: dict[str, int]


def read_config_file(path: Path) -> Any:
    """Parse a `ModelServerConfig`.

    Raises:
        StatusError: The file cannot be read or is no such message.
    """
    try:
        return text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise StatusError(Code.NOT_FOUND, f"{path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid_argument(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {path}: {error}"
        ) from error


def single_model_config(name: str, base_path: str) -> Any:
    """The configuration that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def served_models(config: Any) -> list[ServedModel]:
    """Check a `ModelServerConfig` and return its entries.

    Raises:
        StatusError: It is of another kind, or an entry cannot be served.
    """
    kind = config.WhichOneof("config")
    if kind == "custom_model_config":
        raise StatusError(Code.UNIMPLEMENTED, "custom_model_config is not supported; use model_config_list")
    models = [_served_model(entry) for entry in config.model_config_list.config]
    names = [model.source.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise invalid_argument(f"Illegal to list model {name} multiple times in config list")
    return models


def _served_model(entry: Any) -> ServedModel:
    if not entry.name:
        raise invalid_argument("Expected model to have a name")
    if not entry.model_platform:
        raise invalid_argument("Illegal setting neither model_type(deprecated) nor model_platform.")
    if entry.model_platform != PLATFORM:
        raise invalid_argument(
            f"Unknown model platform {entry.model_platform!r} of model {entry.name}; use {PLATFORM!r}"
        )
    if not Path(entry.base_path).is_absolute():
        raise invalid_argument(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
        )
    source = MonitoredModel(
        name=entry.name, base_path=Path(entry.base_path), policy=_version_policy(entry.model_version_policy)
    )
    return ServedModel(source=source, labels=dict(entry.version_labels))


def _version_policy(proto: Any) -> VersionPolicy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        if not proto.specific.versions:
            raise invalid_argument("model_version_policy specific needs at least one version")
        return Specific(frozenset(proto.specific.versions))
    return Latest(proto.latest.num_versions or 1)
