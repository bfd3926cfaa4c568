"""Gather a run's parameters: from a file, `--set` and defaults; typed, with absolute paths, checked."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.requests.finding import PipelineSource
from trainwright_pipelines.requests.groups import is_group, text_settings
from trainwright_pipelines.requests.locations import absolute_locations
from trainwright_pipelines.requests.parameters import Parameter, check_complete, typed_mapping, typed_texts
from trainwright_pipelines.requests.shipped_settings import check_settings
from trainwright_pipelines.requests.written_values import InvalidText, read_text


def gather_values(
    source: PipelineSource,
    declared: Mapping[str, Parameter],
    *,
    settings: Iterable[tuple[str, str]] = (),
    params_file: Path | None = None,
    given: Mapping[str, Any] | None = None,
    folder: Path,
) -> dict[str, Any]:
    """The values that a run is started with; defaults that need no change are left to the spec.

    Args:
        source: Where the pipeline comes from; a shipped one is checked more closely, for its parameters are known.
        declared: The pipeline's parameters.
        settings: Names and texts of a command line; they win over all others.
        params_file: YAML or JSON; its relative paths start at its own folder.
        given: Typed values by name; they win over the file.
        folder: Where relative paths start, but for those of the file.

    Raises:
        InvalidSetting: An unknown name, a wrong type, a missing value or file, a model without a name of its own.
        InvalidModule: The model module cannot be one.
    """
    is_shipped = source.is_shipped
    values: dict[str, Any] = {}
    texts = text_settings({name: each.type for name, each in declared.items()}) if is_shipped else ()
    if params_file is not None:
        values = typed_mapping(read_params_file(params_file), declared)
        values = absolute_locations(values, base=params_file.absolute().parent, must_exist=is_shipped)
    values = typed_mapping({} if given is None else given, declared, start=values)
    values = typed_texts(settings, declared, start=values, texts=texts)
    values = absolute_locations(values, base=folder, must_exist=is_shipped)
    check_complete(values, declared)
    values |= _changed_defaults(declared, values, folder, must_exist=is_shipped)
    if is_shipped:
        check_settings(values, declared)
        _check_own_name(values, declared, folder)
    return values


def fill_local_paths(values: Mapping[str, Any], declared: Mapping[str, Parameter], models: Path) -> dict[str, Any]:
    """`values` with an empty `serving.base_path` replaced by the model's folder below `models`."""
    if "serving" not in declared or not is_group("serving", declared["serving"].type):
        return dict(values)
    serving = values.get("serving", declared["serving"].default or {})
    name = values.get("model_name") or (declared["model_name"].default if "model_name" in declared else None)
    if not name or serving.get("base_path"):
        return dict(values)
    return {**values, "serving": {**serving, "base_path": str(models / name)}}


def read_params_file(file: Path) -> dict[str, Any]:
    """The parameters in a YAML or JSON file.

    Raises:
        InvalidSetting: It is absent or holds no mapping.
    """
    try:
        content = read_text(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"--params {file}: {error.strerror}") from error
    except (InvalidText, UnicodeDecodeError) as error:
        raise InvalidSetting(f"--params {file} is not valid YAML: {error}") from error
    except InvalidSetting as error:
        raise InvalidSetting(f"--params {file}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidSetting(f"--params {file} must hold NAME: VALUE lines, got a {type(content).__name__}")
    return content


def _changed_defaults(
    declared: Mapping[str, Parameter], values: Mapping[str, Any], folder: Path, *, must_exist: bool
) -> dict[str, Any]:
    defaults = {name: each.default for name, each in declared.items() if name not in values and each.default}
    located = absolute_locations(defaults, base=folder, must_exist=must_exist)
    return {name: value for name, value in located.items() if value != defaults[name]}


def _check_own_name(values: Mapping[str, Any], declared: Mapping[str, Parameter], folder: Path) -> None:
    """Only the bundled example may publish under the bundled example's name without being told to."""
    if "model_name" not in declared or "model_name" in values:
        return
    bundled = {name: declared[name].default for name in ("source", "module") if name in declared}
    for name, default in absolute_locations(bundled, base=folder, must_exist=False).items():
        if (value := values.get(name, default)) != default:
            raise InvalidSetting(
                f"{name} is {value!r}, but model_name was left at {declared['model_name'].default!r}, which names the "
                "model of the bundled example: give this project's model a name, --set model_name=NAME"
            )
