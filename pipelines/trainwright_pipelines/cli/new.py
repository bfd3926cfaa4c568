"""`trainwright new`: a project to edit."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.lazy import ExampleCommand

if TYPE_CHECKING:
    from trainwright_components.datasets.schema import Schema


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright new my_project --source my.csv --label target
trainwright new first_steps                       starts from the bundled digits
trainwright new wines --source wine               another bundled set: wine, iris, breast_cancer, diabetes
trainwright new servos --source servo.data --label column_5 --set data.header=no
""",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--source", metavar="FILE", help="The table to train on, or a bundled set such as wine.")
@click.option("--label", metavar="COLUMN", help="The column to predict.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="data.NAME=VALUE",
    help="How the table is read, such as data.encoding=cp1252; goes into params.yaml. More than once if needed.",
)
def new(folder: Path, source: str | None, label: str | None, settings: tuple[str, ...]) -> None:
    """Write a project into DIR: model.py, params.yaml and README.md that fit the data.

    A label of names or of few integers gives a classifier, any other a regression.
    """
    from trainwright_pipelines.requests.locations import BUNDLED_SOURCES, find_source
    from trainwright_pipelines.scaffold.project import write_digits_project, write_table_project

    for option, given in (("--label", label), ("--set", settings)):
        if source is None and given:
            raise InvalidSetting(f"{option} needs --source: the table that it is about")
    if source is None or source == "digits":
        project = write_digits_project(folder)
    else:
        if label is None and source not in BUNDLED_SOURCES and not Path(source).is_dir():
            raise InvalidSetting("--source needs --label: the column to predict")
        find_source(source, base=Path.cwd())
        data = _data_settings(settings)
        project = write_table_project(folder, source=source, schema=_describe(source, label or "", data), data=data)
    for file in project.files:
        click.echo(f"wrote {file}")
    if project.left_out:
        click.echo(f"not used by model.py: {', '.join(project.left_out)}")
    params = shlex.quote(str(folder / "params.yaml"))
    click.echo(f"\nRun it: trainwright run train_and_deploy --params {params}")


def _data_settings(settings: Iterable[str]) -> dict[str, Any]:
    from trainwright_pipelines.requests.groups import text_settings
    from trainwright_pipelines.requests.parameters import Parameter, split_setting, typed_texts

    group = Parameter(name="data", type="STRUCT", is_optional=True, default={})
    values = typed_texts(map(split_setting, settings), {"data": group}, texts=text_settings({"data": "STRUCT"}))
    found: dict[str, Any] = values.get("data", {})
    return found


def _describe(source: str, label: str, data: Mapping[str, Any]) -> "Schema":
    from trainwright_components.datasets.describe import describe_table
    from trainwright_components.datasets.infer import Roles
    from trainwright_components.prepare_data.settings import PrepareSettings

    read = PrepareSettings.from_mapping(data, label=label)
    by = (read.key_column, read.time_column, read.split_column)
    roles = Roles(
        label=label,
        task=read.task,
        weight=read.weight_column,
        exclude=(*read.exclude, *(name for name in by if name)),
        kinds=read.kinds,
    )
    return describe_table(source, roles, format_name=read.format, dialect=read.dialect, values=read.values)
