"""`trainwright run` and `trainwright submit`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainwright_components.home import find_home
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import engine_options, json_option, parameter_options, target_options
from trainwright_pipelines.targets import DEFAULT_TARGET

if TYPE_CHECKING:
    from trainwright_components.processes.warm_parent import WarmParent
    from trainwright_pipelines.engine.records import RunSettings
    from trainwright_pipelines.requests.preparing import PreparedRun
    from trainwright_pipelines.targets.protocol import RunStatus, Submission, Target

_NAME = click.option("--name", default="", help="A name for the run; else one is made.")
_NO_CACHE = click.option("--no-cache", is_flag=True, help="Run every step, even if nothing that it depends on changed.")


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright run train_and_deploy
trainwright run train_and_deploy --set training.epochs=5 --set params.units=128
trainwright run train_and_deploy --params my_project/params.yaml --set serving.enabled=false
trainwright run my_pipelines.py:nightly --no-cache --json
trainwright run my_pipelines.py:judge --artifact model=models/7 --artifact rows=gs://bucket/rows.csv
trainwright run my_pipelines.py:nightly --isolation drop-repeated-rows=container
trainwright run train_and_deploy --target kubeflow --set serving.enabled=false \\
    --option host=http://localhost:8080 --option images=cpu=registry.example/trainwright:0.1.0 \\
    --option pipeline_root=gs://bucket/runs
""",
)
@click.argument("pipeline")
@parameter_options
@engine_options
@target_options
@_NO_CACHE
@_NAME
@json_option
def run(
    pipeline: str,
    settings: tuple[str, ...],
    params_file: Path | None,
    artifacts: tuple[str, ...],
    requires_outputs: bool,
    isolation: tuple[str, ...],
    target: str,
    options: tuple[str, ...],
    no_cache: bool,
    name: str,
    as_json: bool,
) -> None:
    """Run PIPELINE and follow it to its end; exit code 0 when no step failed.

    A model that was not good enough to be served is not a failure: --json has headlines.is_blessed.
    What steps print: trainwright runs logs --follow

    PIPELINE is a shipped pipeline's name, file.py:function, or a compiled YAML file.
    Its parameters: trainwright pipelines PIPELINE
    """
    with _light_parent(pipeline, target) as light_parent:
        from trainwright_pipelines.cli.configuration import make_target

        there = make_target(target, options, find_home())
        prepared = _prepare(pipeline, settings, params_file, artifacts, runs_here=there.runs_here)
        here = _settings(prepared, requires_outputs, isolation)
        if there.runs_here:
            from trainwright_pipelines.cli.local_run import run_here
            from trainwright_pipelines.targets.local.target import Local

            assert isinstance(there, Local)
            code = run_here(
                prepared,
                home=find_home(),
                name=name,
                use_cache=not no_cache,
                settings=there.complete(here),
                as_json=as_json,
                light_parent=light_parent,
            )
            raise click.exceptions.Exit(code)
    submission = there.submit(prepared.pipeline, prepared.values, name=name, use_cache=not no_cache, settings=here)
    click.echo(f"run {submission.run_id}  {submission.url}", err=True)
    raise click.exceptions.Exit(_follow(there, submission, as_json=as_json))


def _light_parent(pipeline: str, target: str) -> "AbstractContextManager[WarmParent | None]":
    """Started at once for a pipeline that a file holds: it imports what its steps need while this process imports too.

    The steps of shipped pipelines need TensorFlow, and so another one.
    """
    if target != DEFAULT_TARGET or Path(pipeline).suffix == "":
        return nullcontext()
    from trainwright_pipelines.engine.isolation.light_parent import start_light_parent

    return start_light_parent()


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright submit train_and_deploy --name nightly
trainwright submit train_and_deploy --target vertex --option project=my-project --set serving.enabled=false
""",
)
@click.argument("pipeline")
@parameter_options
@engine_options
@target_options
@_NO_CACHE
@_NAME
@json_option
def submit(
    pipeline: str,
    settings: tuple[str, ...],
    params_file: Path | None,
    artifacts: tuple[str, ...],
    requires_outputs: bool,
    isolation: tuple[str, ...],
    target: str,
    options: tuple[str, ...],
    no_cache: bool,
    name: str,
    as_json: bool,
) -> None:
    """Start PIPELINE and return at once; here it goes on in a process of its own."""
    from trainwright_pipelines.cli.configuration import make_target
    from trainwright_pipelines.cli.output import print_json

    there = make_target(target, options, find_home())
    prepared = _prepare(pipeline, settings, params_file, artifacts, runs_here=there.runs_here)
    submission = there.submit(
        prepared.pipeline,
        prepared.values,
        name=name,
        use_cache=not no_cache,
        settings=_settings(prepared, requires_outputs, isolation),
    )
    if as_json:
        print_json(submission)
        return
    click.echo(f"run {submission.run_id}")
    if submission.url:
        click.echo(f"page {submission.url}")
    if submission.follow_command:
        click.echo(f"follow: {submission.follow_command}")


def _prepare(
    pipeline: str, settings: tuple[str, ...], params_file: Path | None, artifacts: tuple[str, ...], *, runs_here: bool
) -> "PreparedRun":
    from trainwright_pipelines.requests.parameters import split_setting
    from trainwright_pipelines.requests.preparing import prepare_run

    places: dict[str, list[str]] = {}
    for name, place in (split_setting(each, "--artifact NAME=PATH") for each in artifacts):
        places.setdefault(name, []).append(place)
    return prepare_run(
        pipeline,
        settings=map(split_setting, settings),
        home=find_home(),
        params_file=params_file,
        runs_here=runs_here,
        artifacts=places,
    )


def _settings(prepared: "PreparedRun", requires_outputs: bool, isolation: tuple[str, ...]) -> "RunSettings":
    from trainwright_pipelines.engine.isolation.choices import parse_isolation
    from trainwright_pipelines.engine.records import RunSettings

    return RunSettings(
        artifacts=prepared.artifacts,
        requires_outputs=requires_outputs,
        isolation=parse_isolation(isolation),
        source=prepared.source,
    )


def _follow(target: "Target", submission: "Submission", *, as_json: bool) -> int:
    from trainwright_pipelines.cli.output import print_json, print_table
    from trainwright_pipelines.views.wording import short_seconds

    shown: dict[str, str] = {}

    def report(status: "RunStatus") -> None:
        for task in status.tasks:
            if shown.get(task.name) != task.state:
                shown[task.name] = task.state
                click.echo(f"{task.name}: {task.state.lower()}", err=True)

    try:
        status = target.follow(submission, report)
    except KeyboardInterrupt:
        click.echo(f"no longer following; the run goes on: {submission.url or submission.run_id}", err=True)
        return 130
    if as_json:
        print_json({"run": submission, "status": status})
    else:
        rows = [(task.name, task.state, short_seconds(task.seconds), task.message) for task in status.tasks]
        print_table(rows, header=("STEP", "STATE", "TIME", ""))
        click.echo(f"{status.state}  {status.message}".rstrip())
    return 0 if status.state == "SUCCEEDED" else 1
