"""Write a project that runs as it is: the model module is chosen by what the label and the columns are."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import whole_file, whole_folder, write_whole
from trainwright_components.storage.addresses import is_remote
from trainwright_pipelines.requests.locations import BUNDLED_SOURCES, EXAMPLES

TRAINING: Mapping[str, int] = {"epochs": 400, "early_stopping_patience": 40, "batch_size": 64}
_STEPS, _PATIENT_STEPS = 20_000, 2_500  # at least
_MONITORS = {"class": "val_cross_entropy", "multilabel": "val_cross_entropy", "number": "val_rmse"}
_MONITOR_OF_TARGETS = "val_r2"  # whatever the scales of the targets
_LISTED = 5
_TABLE_KINDS = ("numeric", "categorical", "text")


def training_for(rows: int, batch_size: int) -> dict[str, int]:
    """`TRAINING` for so many rows; where an epoch has few steps, early stopping waits for more epochs."""
    steps = max(1, rows // batch_size)
    return {
        "epochs": max(TRAINING["epochs"], _STEPS // steps),
        "early_stopping_patience": max(TRAINING["early_stopping_patience"], _PATIENT_STEPS // steps),
        "batch_size": batch_size,
    }


@dataclass(frozen=True, kw_only=True)
class Project:
    """A written project.

    Args:
        left_out: Columns that its model does not use.
        assumed: What nothing tells of a trained model, and how it was taken.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def write_table_project(
    folder: Path,
    *,
    source: str,
    schema: Schema,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] = TRAINING,
    no_features: Mapping[str, str] | None = None,
) -> Project:
    """Write a project for the table `source`, a file or a bundled set, whose columns `schema` describes.

    `data` are settings of how it is read, which go into params.yaml as those of `training` do; `no_features` are
    columns that are no features, with the reason.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
        InvalidData: The table has no column that a model can use.
    """
    if schema.label is None:
        raise InvalidData(f"{source} has no label column: say which one with --label")
    usable = [each for each in schema.features if each.kind in _TABLE_KINDS and not each.shape]
    if not usable:
        others = ", ".join(f"{each.name!r} ({each.kind})" for each in schema.features) or "nothing"
        raise InvalidData(
            f"{source} has {others} beside {_few(tuple(map(repr, schema.label.columns)))}; a module is written here "
            "only for numbers, categories and texts, or for images alone with one label"
        )
    has_targets = schema.label.kind == "number" and schema.label.is_joined
    monitor = _MONITOR_OF_TARGETS if has_targets else _MONITORS[schema.label.kind]
    values = {
        "source": seen_from(folder, source),
        "source_name": Path(source).name,
        "label": "" if (data or {}).get("labels") else schema.label.name,
        "predicted": schema.label.columns,
        "label_kind": schema.label.kind,
        "has_targets": has_targets,
        "class_count": len(schema.value_names),
        "columns": schema.features,
        "history": schema.history,
        "no_features": no_features or {},
        "left_out": tuple(f"{each.name} ({each.kind})" for each in schema.features if each not in usable),
        "monitor": monitor,
        "training": {"monitor": monitor, **training},
        "data": data_group(data or {}, [each.name for each in schema.features if each not in usable]),
    }
    return write_project(folder, render("table_model.py.j2", **values), values)


def write_digits_project(folder: Path) -> Project:
    """Write a project with the shipped digits example, to start from without data.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
    """
    model = (EXAMPLES / "digits.py").read_text()
    values = {"source": "digits", "label": "", "predicted": (), "columns": (), "left_out": (), "data": {}}
    return write_project(folder, model, {**values, "source_name": "digits", "label_kind": "class", "class_count": 10})


def data_group(data: Mapping[str, Any], unused: Iterable[str]) -> dict[str, Any]:
    """`data` for params.yaml, with the columns that the model does not use left out."""
    excluded = [*dict.fromkeys([*data.get("exclude", ()), *unused])]
    return {**data, **({"exclude": excluded} if excluded else {})}


def seen_from(folder: Path, source: str) -> str:
    """A relative path, so that project and data can move together; URIs and the names of bundled sets stay."""
    is_place = source not in BUNDLED_SOURCES and not is_remote(source)
    return source if not is_place else os.path.relpath(Path(source).expanduser().absolute(), folder.absolute())


def served_name(folder: Path) -> str:
    """A name that a URL and a model server take, made from the folder's."""
    return re.sub(r"[^a-z0-9_]+", "_", folder.absolute().name.lower()).strip("_") or "model"


def write_project(folder: Path, model: str, values: Mapping[str, Any]) -> Project:
    """Write the files of a project around the source text `model`; `values` are what the templates tell of it.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
    """
    common = {
        "module": "model.py",
        "training": TRAINING,
        "example": "units=128",
        "history": None,
        "no_features": {},
        **values,
    }
    common["model_name"] = served_name(folder)
    texts = {name: render(f"{name}.j2", **common) for name in ("params.yaml", "README.md")}
    return write_files(folder, {"model.py": model, **texts}, left_out=values["left_out"])


def write_files(
    folder: Path, contents: Mapping[str, str | Path], *, left_out: tuple[str, ...], assumed: tuple[str, ...] = ()
) -> Project:
    """Write a project of `contents` by name: texts, and files and folders to copy.

    Raises:
        InvalidSetting: `folder` holds one of the files already.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidSetting(f"{folder} is a file")
    if present := [name for name in contents if (folder / name).exists()]:
        raise InvalidSetting(f"{folder} already holds {', '.join(present)}; choose another folder")
    for name, content in contents.items():
        if isinstance(content, str):
            write_whole(folder / name, content)
        else:
            _copy(content, folder / name)
    files = tuple(folder / name for name in contents)
    return Project(folder=folder, files=files, left_out=left_out, assumed=assumed)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        with whole_folder(target) as partial:
            shutil.copytree(source, partial, dirs_exist_ok=True)
    else:
        with whole_file(target) as partial:
            shutil.copyfile(source, partial)


def render(template: str, **values: Any) -> str:
    """The text that `template` makes of `values`."""
    environment = Environment(  # noqa: S701  the outputs are Python, YAML and Markdown, not HTML
        loader=PackageLoader("trainwright_pipelines.scaffold"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(yaml=_yaml_text, json=quoted, literal=_literal, code="`{}`".format, few=_few_quoted)
    return environment.get_template(template).render(**values)


def quoted(value: Any) -> str:
    """`value` as JSON that Python and YAML read as the same, for which no sign may be two escapes as in UTF-16."""
    return json.dumps(value, ensure_ascii=False)


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _few_quoted(names: tuple[str, ...]) -> str:
    return _few(tuple(map(quoted, names)))


def _yaml_text(text: str) -> str:
    """`text` as a YAML scalar, without quotes where it reads the same."""
    is_plain = re.fullmatch(r"[A-Za-z./_][\w./-]*", text) and yaml.safe_load(text) == text
    return text if is_plain else quoted(text)


def _literal(names: tuple[str, ...]) -> str:
    """A tuple in the source form that ruff would leave as it is."""
    items = [*map(quoted, names)]
    line = f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if len(line) <= 100:
        return line
    return "(\n" + "".join(f"    {item},\n" for item in items) + ")"
