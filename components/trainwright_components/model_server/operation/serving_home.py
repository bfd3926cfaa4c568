"""The files under `<home>/serving`: the state of the server, the models it serves, its log and its locks."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import write_whole
from trainwright_components.model_server.operation.programs import OURS
from trainwright_components.processes.locks import is_locked, locked


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """The server of one home as its supervisor last wrote it down.

    Args:
        state: "starting", "running", "restarting", "stopped" or "failed".
        message: Why the state is what it is; empty when all is well.
        restarts: How often the process was started again because it had died.
        program: What serves: "trainwright" or "tensorflow_model_server".
    """

    state: str
    supervisor_pid: int
    server_pid: int | None
    host: str
    rest_port: int
    grpc_port: int
    restarts: int
    started_at: str
    message: str = ""
    program: str = OURS

    @property
    def rest_address(self) -> str:
        """Such as http://127.0.0.1:8501."""
        return f"http://{self.host}:{self.rest_port}"

    @property
    def grpc_address(self) -> str:
        """Such as 127.0.0.1:8500."""
        return f"{self.host}:{self.grpc_port}"

    def model_url(self, name: str) -> str:
        """The address of one model over REST."""
        return f"{self.rest_address}/v1/models/{name}"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model that the server has been told to serve."""

    name: str
    base_path: str


class ServingHome:
    """The folder `<home>/serving`.

    Args:
        home: The folder that TRAINWRIGHT_HOME names.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / "serving"
        self.server_file = self.folder / "server.json"
        self.models_file = self.folder / "models.json"
        self.config_file = self.folder / "models.config"
        self.log_file = self.folder / "server.log"
        self.start_lock = self.folder / "start.lock"
        self.supervisor_lock = self.folder / "supervisor.lock"
        self._models_lock = self.folder / "models.lock"

    @property
    def is_supervised(self) -> bool:
        """Whether a supervisor lives; the kernel knows, whatever the files say."""
        return is_locked(self.supervisor_lock)

    def read_info(self) -> ServerInfo | None:
        """The server as last written down; None if none was ever started."""
        try:
            content = json.loads(self.server_file.read_text())
            known = {item.name for item in fields(ServerInfo)}
            return ServerInfo(**{name: value for name, value in content.items() if name in known})
        except (
            FileNotFoundError,
            ValueError,
            AttributeError,
            TypeError,
        ):  # none, or another version's
            return None

    def write_info(self, info: ServerInfo) -> None:
        """Write the server down, whole; only its supervisor does."""
        content = asdict(info) | {"rest_address": info.rest_address, "grpc_address": info.grpc_address}
        content["models"] = [asdict(model) for model in self.models()]
        write_whole(self.server_file, json.dumps(content, indent=2) + "\n")

    def models(self) -> list[ModelEntry]:
        """The models to serve, by name.

        Raises:
            InvalidSetting: The record is damaged, or a newer release wrote it.
        """
        try:
            return [ModelEntry(**entry) for entry in json.loads(self.models_file.read_text())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise InvalidSetting(
                f"{self.models_file}, the models to serve, cannot be read: it is damaged, or a newer release of "
                "trainwright wrote it. Use that release, or move the file away and deploy the models again"
            ) from error

    def put_model(self, model: ModelEntry) -> None:
        """Serve `model` from now on, in place of any other of its name."""
        with locked(self._models_lock):
            self._write_models([*(m for m in self.models() if m.name != model.name), model])

    def drop_model(self, name: str) -> None:
        """Serve the model no more."""
        with locked(self._models_lock):
            self._write_models(m for m in self.models() if m.name != name)

    def write_config(self) -> None:
        """Write the config file that belongs to the models, as for a server about to start."""
        with locked(self._models_lock):
            self._write_models(self.models())

    def _write_models(self, models: Iterable[ModelEntry]) -> None:
        ordered = sorted(models, key=lambda model: model.name)
        write_whole(self.models_file, json.dumps([asdict(model) for model in ordered], indent=2) + "\n")
        write_whole(self.config_file, config_text(ordered))


def config_text(models: Iterable[ModelEntry]) -> str:
    """`models` as the text form of TensorFlow Serving's ModelServerConfig."""
    entries = (
        f"  config {{\n    name: {json.dumps(model.name)}\n    base_path: {json.dumps(model.base_path)}\n"
        '    model_platform: "tensorflow"\n  }\n'
        for model in models
    )
    return "model_config_list {\n" + "".join(entries) + "}\n"


def check_model(home: Path, name: str, base_path: Path) -> None:
    """Refuse what `add_model` would refuse, and change nothing.

    Raises:
        InvalidSetting: Another folder is already served under that name.
    """
    for model in ServingHome(home).models():
        served_from = Path(model.base_path)
        if model.name == name and served_from != base_path.absolute() and served_from.is_dir():
            raise InvalidSetting(
                f"model {name!r} is already served from {served_from}: use another name, or that folder"
            )
