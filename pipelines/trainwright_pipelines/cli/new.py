"""`trainwright new`: a project to edit."""

import shlex
from pathlib import Path

import click

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.lazy import ExampleCommand


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright new my_project --source my.csv --label target
trainwright new first_steps                       starts from the bundled digits
trainwright new wines --source wine               another bundled set: wine, iris, breast_cancer, diabetes
""",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--source", metavar="FILE", help="The table to train on, or a bundled set such as wine.")
@click.option("--label", metavar="COLUMN", help="The column to predict.")
def new(folder: Path, source: str | None, label: str | None) -> None:
    """Write a project into DIR: model.py, params.yaml and README.md that fit the data.

    A label of names or of few integers gives a classifier, any other a regression.
    """
    from trainwright_pipelines.requests.locations import BUNDLED_SOURCES, find_source
    from trainwright_pipelines.scaffold.project import write_digits_project, write_table_project

    if source is None and label is not None:
        raise InvalidSetting("--label needs --source: the table that holds the column")
    if source is None or source == "digits":
        project = write_digits_project(folder)
    else:
        if label is None and source not in BUNDLED_SOURCES and not Path(source).is_dir():
            raise InvalidSetting("--source needs --label: the column to predict")
        find_source(source, base=Path.cwd())
        from trainwright_components.datasets.describe import describe_table

        project = write_table_project(folder, source=source, schema=describe_table(source, label or ""))
    for file in project.files:
        click.echo(f"wrote {file}")
    if project.left_out:
        click.echo(f"not used by model.py: {', '.join(project.left_out)}")
    params = shlex.quote(str(folder / "params.yaml"))
    click.echo(f"\nRun it: trainwright run train_and_deploy --params {params}")
