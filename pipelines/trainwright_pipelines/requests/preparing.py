"""From a pipeline's name and some settings to what a target can be sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.files import current_folder
from trainwright_components.home import Home
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import find_pipeline
from trainwright_pipelines.requests.inputs import fill_local_paths, gather_values
from trainwright_pipelines.requests.named_models import find_named_models
from trainwright_pipelines.requests.parameters import declared_parameters
from trainwright_pipelines.requests.shipped_settings import check_place


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A compiled pipeline and the values that its run starts with."""

    pipeline: CompiledPipeline
    values: dict[str, Any]


def prepare_run(
    pipeline: str | Path,
    *,
    home: Home,
    settings: Iterable[tuple[str, str]] = (),
    params_file: Path | None = None,
    given: Mapping[str, Any] | None = None,
    runs_here: bool = True,
) -> PreparedRun:
    """Compile `pipeline`, unless that was done before, and gather its values, see `gather_values`.

    Raises:
        InvalidPipeline: It cannot be found or compiled.
        InvalidSetting: A parameter is unknown, missing or of another type.
        InvalidModule: The model module cannot be one.
    """
    here = current_folder()
    source = find_pipeline(pipeline)
    compiled = load_pipeline(source, home.compiled)
    declared = declared_parameters(compiled.pipeline)
    values = gather_values(source, declared, settings=settings, params_file=params_file, given=given, folder=here)
    if runs_here:
        values = fill_local_paths(values, declared, home.models)
        if source.is_shipped:
            check_place({name: each.default for name, each in declared.items()} | values, home.root)
        values = find_named_models(values, compiled.pipeline, home=home.root, folder=here)
    return PreparedRun(pipeline=compiled, values=values)
