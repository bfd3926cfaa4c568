"""The model config file: a `ModelServerConfig` text proto, read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from trainwright_components.model_server.core.request_log import check_logging_config
from trainwright_components.model_server.manager.source import MonitoredModel
from trainwright_components.model_server.manager.version_policy import All, Latest, Specific, VersionPolicy
from trainwright_components.model_server.status import Code, StatusError, invalid_argument
from trainwright_components.model_server.text_protos import read_text_proto
from trainwright_components.storage.addresses import is_remote

PLATFORM = "tensorflow"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One entry of the configuration.

    Args:
        logging: `LoggingConfig` where requests are to be written down.
    """

    source: MonitoredModel
    labels: dict[str, int]
    logging: Any = None


def read_config_file(path: Path) -> Any:
    """Parse a `ModelServerConfig`.

    Raises:
        StatusError: The file cannot be read or is no such message.
    """
    return read_text_proto(path, model_server_config_pb2.ModelServerConfig())


def single_model_config(name: str, base_path: str) -> Any:
    """The configuration that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def read_model_configs(config: Any, *, before: Sequence[ModelConfig] | None = None) -> list[ModelConfig]:
    """Check a `ModelServerConfig` and return its entries.

    Args:
        config: The configuration.
        before: What was served until now; none at the start.

    Raises:
        StatusError: It is of another kind, or an entry cannot be served.
    """
    if config.WhichOneof("config") != "model_config_list":
        if before is not None:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to transition "
                "from one ModelConfigList to another.",
            )
        raise StatusError(Code.UNIMPLEMENTED, "custom_model_config is not supported; use model_config_list")
    entries = config.model_config_list.config
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise invalid_argument(f"Illegal to list model {name} multiple times in config list")
    for entry in entries:
        if not is_absolute(entry.base_path):
            raise invalid_argument(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
            )
    return [_model_config(entry) for entry in entries]


def is_absolute(base_path: str) -> bool:
    """Whether a base path is an absolute path or a URI."""
    return is_remote(base_path) or Path(base_path).is_absolute()


def _model_config(entry: Any) -> ModelConfig:
    if not entry.name:
        raise invalid_argument("Expected model to have a name")
    platform = _platform(entry)
    if platform != PLATFORM:
        raise invalid_argument(f"Model {entry.name} requests unsupported platform {platform}")
    if is_remote(entry.base_path):
        raise invalid_argument(
            f"base_path {entry.base_path} of model {entry.name} is a URI; only folders of this machine can be served"
        )
    source = MonitoredModel(
        name=entry.name, base_path=Path(entry.base_path), policy=_version_policy(entry.model_version_policy)
    )
    logging = entry.logging_config if entry.HasField("logging_config") else None
    if logging is not None:
        check_logging_config(logging)
    return ModelConfig(source=source, labels=dict(entry.version_labels), logging=logging)


def _platform(entry: Any) -> str:
    if not entry.model_type:
        platform = str(entry.model_platform)
    elif entry.model_platform:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    elif entry.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid_argument(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
    else:
        platform = PLATFORM
    if not platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return platform


def _version_policy(proto: Any) -> VersionPolicy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        if not proto.specific.versions:
            raise invalid_argument("model_version_policy specific needs at least one version")
        return Specific(frozenset(proto.specific.versions))
    return Latest(proto.latest.num_versions or 1)
