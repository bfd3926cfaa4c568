"""From a pipeline's name and some settings to what a target can be sent."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import content_digest, current_folder
from trainwright_components.home import Home
from trainwright_components.storage.addresses import is_remote, normalize
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import KfpPipeline, PipelineSource, find_pipeline
from trainwright_pipelines.requests.inputs import fill_local_paths, gather_values
from trainwright_pipelines.requests.named_models import find_named_models
from trainwright_pipelines.requests.parameters import declared_parameters
from trainwright_pipelines.requests.shipped_settings import check_place


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A compiled pipeline and the values that its run starts with."""

    pipeline: CompiledPipeline
    values: dict[str, Any]
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    """Addresses of the artifacts that the pipeline itself takes, by input."""
    source: dict[str, str] = field(default_factory=dict)
    """What the pipeline was compiled from, as a run's settings have it."""


def prepare_run(
    pipeline: str | Path | KfpPipeline,
    *,
    home: Home,
    settings: Iterable[tuple[str, str]] = (),
    params_file: Path | None = None,
    given: Mapping[str, Any] | None = None,
    runs_here: bool = True,
    artifacts: Mapping[str, Any] | None = None,
) -> PreparedRun:
    """Compile `pipeline`, unless that was done before, and gather its values, see `gather_values`.

    `artifacts` are paths or addresses of those that the pipeline itself takes, by input, several in a list.

    Raises:
        InvalidPipeline: It cannot be found or compiled.
        InvalidSetting: A parameter is unknown, missing or of another type.
        InvalidModule: The model module cannot be one.
    """
    here = current_folder()
    source = find_pipeline(pipeline)
    origin = _origin_of(source)  # before it is read: an edit meanwhile is one since
    compiled = load_pipeline(source, home.compiled)
    declared = declared_parameters(compiled.pipeline)
    settings = tuple(settings)
    for name, value in [*settings, *(given.items() if isinstance(given, Mapping) else ())]:
        if name in compiled.pipeline.root.input_artifacts:
            raise InvalidSetting(f"{name!r} is an artifact, not a parameter: --artifact {name}={value}")
    values = gather_values(source, declared, settings=settings, params_file=params_file, given=given, folder=here)
    if runs_here:
        values = fill_local_paths(values, declared, home.models)
        if source.is_shipped:
            check_place({name: each.default for name, each in declared.items()} | values, home.root)
        values = find_named_models(values, compiled.pipeline, home=home.root, folder=here)
    return PreparedRun(
        pipeline=compiled, values=values, artifacts=locate_artifacts(artifacts or {}, here), source=origin
    )


def load_edited(pipeline: str | Path | KfpPipeline, home: Home) -> tuple[str, dict[str, str]]:
    """The compiled YAML of a pipeline that was edited after a run of it, and what it was compiled from.

    Raises:
        InvalidPipeline: It cannot be found or compiled.
    """
    source = find_pipeline(pipeline)
    origin = _origin_of(source)
    return load_pipeline(source, home.compiled).to_yaml(), origin


def _origin_of(source: PipelineSource) -> dict[str, str]:
    if source.is_shipped or source.kfp_pipeline is not None:
        return {}
    return {"reference": source.reference, "file": str(source.file), "digest": content_digest(source.file)}


def locate_artifacts(given: Mapping[str, Any], folder: Path) -> dict[str, list[str]]:
    """The artifacts of a pipeline by input, with paths made absolute from `folder`.

    Raises:
        InvalidSetting: Something other than a path or an address stands for one.
    """
    located: dict[str, list[str]] = {}
    for name, value in given.items():
        each = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(one, str | os.PathLike) for one in each):
            raise InvalidSetting(
                f"the artifact {name!r} must be a path or an address, or a list of them; got {value!r}"
            )
        normal = [normalize(os.fspath(one)) for one in each]
        located[name] = [one if is_remote(one) or not one else str(folder / one) for one in normal]
    return located
