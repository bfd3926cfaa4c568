"""What this machine knows of the models that it serves: version, folder, schema, the requests that proved them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import Schema
from trainwright_components.deploy_serving.history import golden_requests_file
from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_components.hints import did_you_mean
from trainwright_components.model_server.operation.control import server_status
from trainwright_components.model_server.operation.serving_home import ServingHome
from trainwright_components.saved_models.layout import written_schema
from trainwright_components.saved_models.signatures import SERVING_DEFAULT
from trainwright_components.saved_models.versions import list_versions, version_folder


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row of a golden request, and what the Keras model itself answered to it."""

    row: Mapping[str, Any]
    expected: Any


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One version of a model that was deployed on this machine."""

    name: str
    base_path: Path
    version: int

    @property
    def folder(self) -> Path:
        """The SavedModel."""
        return version_folder(self.base_path, self.version)

    @property
    def schema(self) -> Schema | None:
        """The schema that was exported with it."""
        return written_schema(self.folder)

    def example(self, signature: str = SERVING_DEFAULT) -> Example:
        """The first row of the golden requests that this version answered when it was deployed.

        Raises:
            InvalidSetting: None are kept, or none of them asks `signature`.
        """
        file = golden_requests_file(self.base_path, self.version)
        if not file.is_file():
            raise InvalidSetting(f"no example is kept for version {self.version} of {self.name!r}; give a row instead")
        requests = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        for request in requests:
            if (request.get("signature_name") or SERVING_DEFAULT) == signature:
                return Example(row=_first_row(request["inputs"]), expected=_first_answer(request["outputs"]))
        raise InvalidSetting(f"no example for signature {signature!r} in {file}; give a row instead")


def server_address(home: Path) -> str:
    """Where this machine's model server answers, such as http://127.0.0.1:8501.

    Raises:
        ServingUnavailable: It does not run.
    """
    found = server_status(home)
    if found is None or not found.is_answering:
        raise ServingUnavailable("the model server does not run; start it: trainwright serve start")
    return found.info.rest_address


def find_served_model(home: Path, name: str, *, version: int | None = None) -> ServedModel:
    """The version of `name` that is served by the server of `home`, or `version` of it.

    While the server does not run, that is the newest version, which it would serve.

    Raises:
        InvalidSetting: No such model or version was deployed there.
    """
    models = {each.name: Path(each.base_path) for each in ServingHome(home).models()}
    if name not in models:
        advice = did_you_mean(name, models) if models else "; none is yet: trainwright run train_and_deploy"
        raise InvalidSetting(f"no model {name!r} was deployed here{advice}")
    there = list_versions(models[name])
    if not there:
        raise InvalidSetting(f"model {name!r} has no version any more in {models[name]}; deploy it again")
    if version is not None and version not in there:
        raise InvalidSetting(f"model {name!r} has no version {version}; there is: {', '.join(map(str, there))}")
    chosen = version if version is not None else _live_version(home, name) or there[-1]
    return ServedModel(name=name, base_path=models[name], version=chosen)


def _live_version(home: Path, name: str) -> int | None:
    status = server_status(home)
    return next((each.live_version for each in status.models if each.name == name), None) if status else None


def _first_row(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[0] for name, values in columns.items()}


def _first_answer(columns: Mapping[str, Any]) -> Any:
    row = _first_row(columns)
    return next(iter(row.values())) if len(row) == 1 else row  # as the server answers: one output goes without a name
