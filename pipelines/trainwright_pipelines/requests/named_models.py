"""Models that a pipeline imports, written as names: on this machine the folders of the versions that are served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.ir.spec import Pipeline
from trainwright_pipelines.requests.parameters import declared_parameters
from trainwright_pipelines.requests.uploads import imported_parameters

_MODEL_TYPE = "system.Model"


def find_named_models(values: Mapping[str, Any], pipeline: Pipeline, *, home: Path, folder: Path) -> dict[str, Any]:
    """`values` with the names of deployed models replaced by the folders of their served versions.

    Looks at the parameters whose URI the pipeline imports as a model. A deployed model goes before a folder of the
    same name below `folder`; `./NAME` means the folder.

    Raises:
        InvalidSetting: Neither a deployed model nor a folder has that name.
    """
    found = {name: _find(model, home, folder) for name, model in _model_names(values, pipeline).items()}
    return {**values, **found}


def refuse_named_models(values: Mapping[str, Any], pipeline: Pipeline) -> None:
    """Raise `InvalidSetting` for a model given to another machine by a name that only this one knows."""
    for name, model in _model_names(values, pipeline).items():
        raise InvalidSetting(
            f"parameter {name!r} is the name {model!r}, which only this machine knows: "
            "give the URI of a SavedModel that the target can read (gs://...)"
        )


def _model_names(values: Mapping[str, Any], pipeline: Pipeline) -> dict[str, str]:
    declared = declared_parameters(pipeline)
    imported = imported_parameters(pipeline, artifact_type=_MODEL_TYPE) & declared.keys()
    texts = {name: values.get(name, declared[name].default) for name in sorted(imported)}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text and "/" not in text}


def _find(model: str, home: Path, folder: Path) -> str:
    from trainwright_pipelines.requests.served_models import find_served_model

    try:
        return str(find_served_model(home, model).folder)
    except InvalidSetting:
        path = folder / model
        if not path.is_dir():
            raise
        return str(path.resolve())
