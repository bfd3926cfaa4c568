"""`trainwright new`: a project to edit."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.output import print_json

if TYPE_CHECKING:
    from trainwright_components.datasets.describe import Description
    from trainwright_components.datasets.schema import Feature
    from trainwright_components.datasets.verdicts.verdict import Verdict
    from trainwright_pipelines.scaffold.project import Project

_LONGEST_ADVICE = 1_000


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright new my_project --source my.csv --label target
trainwright new first_steps                       starts from the bundled digits
trainwright new wines --source wine               another bundled set: wine, iris, breast_cancer, diabetes
trainwright new two_numbers --source wine --label alcohol --label hue    several columns: numbers, or all of 0 and 1
trainwright new servos --source servo.data --label column_5 --set data.header=no
trainwright new flowers --source photos/          images: a folder in it for each class
trainwright new theirs --keras model.keras --source my.csv --label target    serves a trained model as it is
""",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--source", metavar="FILE", help="The table or the folder of images to train on, or a bundled set such as wine."
)
@click.option(
    "--keras",
    "given",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A trained model to serve as it is: a .keras or .h5 file, or the folder of a SavedModel.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="COLUMN",
    help="The column to predict. More than once for several: all numbers, or all of 0 and 1.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of data or training, such as data.encoding=cp1252, for params.yaml. More than once if needed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the files and what looks wrong as JSON.")
def new(
    folder: Path,
    source: str | None,
    given: Path | None,
    labels: tuple[str, ...],
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a project into DIR: model.py, params.yaml and README.md that fit the data.

    A label of names or of few integers gives a classifier, any other a regression. What looks wrong in the table is
    said, with options of --set against it.
    """
    from trainwright_pipelines.requests.locations import BUNDLED_SOURCES
    from trainwright_pipelines.scaffold.images import BATCH_SIZE, picture_of, write_image_project
    from trainwright_pipelines.scaffold.project import write_digits_project, write_table_project

    for option, value in (("--label", labels), ("--set", settings), ("--keras", given)):
        if source is None and value:
            raise InvalidSetting(f"{option} needs --source: the table that it is about")
    verdicts: tuple[Verdict, ...] = ()
    if source is None or (source == "digits" and given is None):
        project = write_digits_project(folder)
    else:
        _check_there(source, given)
        groups = _typed_settings(settings)
        data = groups["data"]
        if len(labels) > 1:
            if "labels" in data:
                raise InvalidSetting("data.labels is given by --set and by --label; leave one of them out")
            labels, data = (), {**data, "labels": list(labels)}
        label = labels[0] if labels else ""
        if not (label or data.get("labels") or source in BUNDLED_SOURCES or Path(source).is_dir()):
            raise InvalidSetting("--source needs --label: the column to predict")
        found, training, verdicts = _describe(source, label, data=data, training=groups["training"])
        schema = found.schema
        no_features = _no_features(found, verdicts, data)
        about: dict[str, Any] = {"source": source, "schema": schema, "data": data, "no_features": no_features}
        picture = picture_of(schema)
        if given is not None:
            project = _serve_given(folder, given, **about)
        elif picture is not None:
            training = {"batch_size": min(training["batch_size"], BATCH_SIZE), **groups["training"]}
            project = write_image_project(
                folder, picture=picture, side=_side(source, picture, data, label), training=training, **about
            )
        else:
            project = write_table_project(folder, training=training, **about)
    if as_json:
        content = {
            "files": [str(file) for file in project.files],
            "left_out": list(project.left_out),
            "assumed": list(project.assumed),
        }
        print_json({**content, "verdicts": [verdict.to_json() for verdict in verdicts]})
        return
    for file in project.files:
        click.echo(f"wrote {file}")
    if project.left_out:
        click.echo(f"not used by model.py: {', '.join(project.left_out)}")
    for line in project.assumed:
        click.echo(line)
    _show_verdicts(verdicts)
    params = shlex.quote(str(folder / "params.yaml"))
    click.echo(f"\nRun it: trainwright run train_and_deploy --params {params}")


def _check_there(source: str, given: Path | None) -> None:
    """What is not there is said before what is wrong with it."""
    from trainwright_components.user_module.given_files import check_given
    from trainwright_pipelines.requests.locations import find_source

    find_source(source, base=Path.cwd())
    if given is not None:
        check_given(given.expanduser())


def _side(source: str, picture: "Feature", data: Mapping[str, Any], label: str) -> float:
    from trainwright_components.datasets.pictures import median_side
    from trainwright_components.datasets.sources.opening import open_source
    from trainwright_components.prepare_data.settings import PrepareSettings

    read = PrepareSettings.from_mapping(data, label=label)
    opened = open_source(source, format_name=read.format, dialect=read.dialect, values=read.values)
    return median_side(opened, picture)


def _no_features(found: "Description", verdicts: "Iterable[Verdict]", data: Mapping[str, Any]) -> dict[str, str]:
    """The columns that are no features, with the reason."""
    ways = ("key_column", "time_column", "split_column", "weight_column")
    reasons = dict.fromkeys(found.empty, "it has no value in any row")
    left_out = {each.columns[0]: f"{each.kind}: {each.finding}" for each in verdicts if each.is_left_out}
    reasons |= {name: reason.removesuffix(", and is not a feature") for name, reason in left_out.items()}
    reasons |= {data[way]: f"it is `data.{way}`" for way in ways if data.get(way)}
    return reasons | dict.fromkeys(data.get("exclude", ()), "`data.exclude` names it")


def _serve_given(folder: Path, given: Path, **about: Any) -> "Project":
    from trainwright_components.user_module.given_files import read_given
    from trainwright_pipelines.scaffold.given import write_given_project

    return write_given_project(folder, read_given(given.expanduser()), **about)


def _show_verdicts(verdicts: "Sequence[Verdict]") -> None:
    from trainwright_components.datasets.verdicts.verdict import join_advice, name_columns

    if not verdicts:
        return
    click.echo("\nWhat looks wrong (options are for `trainwright run`, and for `trainwright new` into another folder):")
    for verdict in verdicts:
        about = f" {name_columns(verdict.columns)}" if verdict.columns else ""
        click.echo(f"  {verdict.kind}{about}: {verdict.finding}")
        for advice in verdict.advice:
            click.echo(f"      {advice}" if len(str(advice)) <= _LONGEST_ADVICE else f"      {advice.text}: see --json")
    advised = [verdict for verdict in verdicts if not verdict.is_left_out and verdict.advice[0].settings]
    together = join_advice(advised)
    if together and len(advised) > 1 and len(str(together)) <= _LONGEST_ADVICE:
        click.echo(f"  {together}")


def _typed_settings(settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    from trainwright_pipelines.requests.groups import text_settings
    from trainwright_pipelines.requests.parameters import Parameter, split_setting, typed_texts

    types = dict.fromkeys(("data", "training"), "STRUCT")
    groups = {
        name: Parameter(name=name, type=type_name, is_optional=True, default={}) for name, type_name in types.items()
    }
    values: dict[str, dict[str, Any]] = typed_texts(map(split_setting, settings), groups, texts=text_settings(types))
    return {name: values.get(name, {}) for name in groups}


def _describe(
    source: str, label: str, *, data: Mapping[str, Any], training: Mapping[str, Any]
) -> "tuple[Description, Mapping[str, Any], tuple[Verdict, ...]]":
    """The columns, settings of training that fit the number of rows, and what looks wrong."""
    from trainwright_components.datasets.describe import describe_table
    from trainwright_components.datasets.infer import Roles
    from trainwright_components.datasets.verdicts.batches import fitting_batch
    from trainwright_components.datasets.verdicts.table import judge
    from trainwright_components.prepare_data.settings import PrepareSettings
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_pipelines.scaffold.project import TRAINING, training_for

    read = PrepareSettings.from_mapping(data, label=label)
    TrainingSettings.from_mapping(training)
    by = (read.key_column, read.time_column, read.split_column)
    roles = Roles(
        label=read.label_columns[0] if len(read.label_columns) == 1 else "",
        labels=read.labels if len(read.labels) > 1 else (),
        label_separator=read.label_separator,
        task=read.task_of_label,
        weight=read.weight_column,
        exclude=(*read.exclude, *(name for name in by if name)),
        kinds=read.kinds,
    )
    found = describe_table(
        source,
        roles,
        format_name=read.format,
        dialect=read.dialect,
        values=read.values,
        given=read.given,
        drop_unlabeled=read.drop_unlabeled,
        history=read.history(label),
    )
    train_rows = round(found.evidence.rows * (1 - sum(read.fractions.values())))
    batch_size = fitting_batch(train_rows, TRAINING["batch_size"])
    fitting = {**training_for(train_rows, training.get("batch_size", batch_size)), **training}
    is_weighted = bool(training.get("class_weights"))
    given = replace(found.evidence.given, batch_size=fitting["batch_size"], has_class_weights=is_weighted)
    return found, fitting, judge(replace(found.evidence, given=given, train_rows=train_rows))
