"""What this machine knows of a model that it serves: its folder, its schema, a row that it was tested with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.serving_home import ServingHome

_LOOK_AT_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model by name; `home` and `version_folder` are absent for a model of another machine."""

    name: str
    home: Path | None = None
    version_folder: Path | None = None

    @property
    def schema(self) -> Schema | None:
        """The schema that was exported with the newest version."""
        assets = self.version_folder / "assets.extra" if self.version_folder else None
        return Schema.load(assets) if assets and (assets / "schema.json").is_file() else None

    def example_rows(self, *, limit: int) -> list[Any]:
        """Rows of the golden requests of the newest run that exported this model.

        Raises:
            InvalidSetting: No run of this machine has any.
        """
        golden = self._golden_requests()
        if golden is None:
            raise InvalidSetting(f"no run here holds an example for {self.name!r}; give a row instead of --example")
        for line in golden.read_text().splitlines():
            request = json.loads(line)
            if request["signature_name"] == "serving_default":
                return _rows_of_columns(request["inputs"])[:limit]
        raise InvalidSetting(f"{golden} holds no request to serving_default; give a row instead of --example")

    def _golden_requests(self) -> Path | None:
        if self.home is None:
            return None
        from trainwright_pipelines.engine.store import Store

        store = Store(self.home)
        try:
            for run in store.runs(limit=_LOOK_AT_RUNS):
                if run.parameters.get("model_name") != self.name:
                    continue
                for task in store.tasks(run.id):
                    for artifact in task.outputs.artifacts.get("golden_requests", ()):
                        if artifact.path is not None and artifact.path.is_file():
                            return artifact.path
        finally:
            store.close()
        return None


def find_served_model(home: Path, name: str) -> ServedModel:
    """The model called `name`, as far as it is known under `home`."""
    entry = next((each for each in ServingHome(home).models() if each.name == name), None)
    if entry is None:
        return ServedModel(name=name, home=home)
    versions = [each for each in Path(entry.base_path).glob("*") if each.name.isdecimal() and each.is_dir()]
    newest = max(versions, key=lambda folder: int(folder.name), default=None)
    return ServedModel(name=name, home=home, version_folder=newest)


def _rows_of_columns(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
