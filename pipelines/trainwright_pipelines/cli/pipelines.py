"""`trainwright pipelines`, `components` and `compile`: what there is, and what a target would be sent."""

import json
from pathlib import Path
from typing import Any

import click

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.home import find_home
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option, target_options
from trainwright_pipelines.cli.output import print_json, print_table


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright pipelines
trainwright pipelines train_and_deploy
trainwright pipelines my_pipelines.py:nightly --json
""",
)
@click.argument("name", required=False)
@json_option
def pipelines(name: str | None, as_json: bool) -> None:
    """List the shipped pipelines, or describe one with its parameters."""
    from trainwright_pipelines.requests.finding import describe_function, shipped_pipelines

    if name is not None:
        _describe_pipeline(name, as_json=as_json)
        return
    rows = [(each.name, describe_function(each)) for each in shipped_pipelines().values()]
    if as_json:
        print_json([{"name": name, "description": text} for name, text in rows])
        return
    print_table(rows, header=("PIPELINE", "WHAT IT DOES"))
    click.echo("\nParameters of one: trainwright pipelines NAME")


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright components
trainwright components quantize_tflite
""",
)
@click.argument("name", required=False)
@json_option
def components(name: str | None, as_json: bool) -> None:
    """List the components, or describe one with its inputs and outputs."""
    from trainwright_pipelines.cli.component_catalogue import list_components

    found = list_components()
    if name is None:
        if as_json:
            print_json([{"name": each.name, "description": each.summary} for each in found.values()])
            return
        print_table([(each.name, each.summary) for each in found.values()], header=("COMPONENT", "WHAT IT DOES"))
        click.echo("\nInputs and outputs of one: trainwright components NAME")
        return
    component = found.get(name.replace("-", "_"))
    if component is None:
        raise InvalidSetting(f"no component {name!r}{did_you_mean(name, found)}")
    if as_json:
        print_json(component)
        return
    click.echo(f"{component.name}: {component.summary}\n")
    rows = [(each.direction, each.name, each.type, each.default, each.description) for each in component.ports]
    print_table(rows, header=("", "NAME", "TYPE", "DEFAULT", "WHAT IT IS"))
    click.echo(f"\nIn a pipeline: from trainwright.components import {component.name}")


@click.command(
    "compile",
    cls=ExampleCommand,
    examples="""\
trainwright compile train_and_deploy -o train_and_deploy.yaml
trainwright compile my_pipelines.py:nightly --target vertex -o build/
""",
)
@click.argument("pipeline")
@target_options
@click.option(
    "-o", "--output", type=click.Path(), metavar="PATH", help="A file, or a folder when it ends in /; else stdout."
)
def compile_pipeline(pipeline: str, target: str, options: tuple[str, ...], output: str | None) -> None:
    """Compile PIPELINE and write what a target would be sent.

    PIPELINE is a shipped pipeline's name, file.py:function, or a compiled YAML file.
    """
    from trainwright_components.files import write_whole
    from trainwright_pipelines.cli.configuration import make_target
    from trainwright_pipelines.requests.compiling import load_pipeline
    from trainwright_pipelines.requests.finding import find_pipeline

    compiled = load_pipeline(find_pipeline(pipeline), find_home().compiled)
    files = make_target(target, options, find_home()).lower(compiled)
    if output is None:
        click.echo("---\n".join(files.values()), nl=False)
        return
    for path, text in _placed(files, output).items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise InvalidSetting(f"--output {path} cannot be written: {error.strerror}") from error
        click.echo(f"wrote {path}", err=True)


def _placed(files: Any, output: str) -> dict[Path, str]:
    folder = Path(output)
    if output.endswith("/") or folder.is_dir():
        return {folder / name: text for name, text in files.items()}
    first, *rest = files.items()
    return {folder: first[1], **{folder.parent / name: text for name, text in rest}}


def _describe_pipeline(reference: str, *, as_json: bool) -> None:
    from trainwright_pipelines.requests.compiling import load_pipeline
    from trainwright_pipelines.requests.finding import find_pipeline
    from trainwright_pipelines.requests.groups import is_group, settings_of
    from trainwright_pipelines.requests.parameters import declared_parameters

    source = find_pipeline(reference)
    compiled = load_pipeline(source, find_home().compiled)
    declared, description = declared_parameters(compiled.pipeline), compiled.pipeline.description
    groups = {
        name: settings_of(name) for name, each in declared.items() if source.is_shipped and is_group(name, each.type)
    }
    artifacts = {
        name: {each: getattr(slot, each) for each in ("type", "is_list", "is_optional", "description")}
        for name, slot in compiled.pipeline.root.input_artifacts.items()
    }
    if as_json:
        about = {"name": compiled.name, "description": description}
        print_json({**about, "parameters": declared, "groups": groups, "artifacts": artifacts})
        return
    click.echo(f"{compiled.name}: {description}" if description.strip() else compiled.name)
    rows = []
    for name, each in declared.items():
        default = json.dumps(each.default) if each.is_optional else "(required)"
        rows.append((name, each.type_name, default, each.description))
        rows += [(one.name, one.type, one.default, one.description) for one in groups.get(name, ())]
    if rows:
        click.echo()
        print_table(rows, header=("PARAMETER", "TYPE", "DEFAULT", "WHAT IT IS"))
    if artifacts:
        click.echo()
        kinds = {name: f"{'list of ' if each['is_list'] else ''}{each['type']}" for name, each in artifacts.items()}
        needs = {name: "(none)" if each["is_optional"] else "(required)" for name, each in artifacts.items()}
        lines = [(name, kinds[name], needs[name], each["description"]) for name, each in artifacts.items()]
        print_table(lines, header=("ARTIFACT", "TYPE", "DEFAULT", "WHAT IT IS"))
    given = [*(["--set NAME=VALUE"] if rows else []), *(["--artifact NAME=PATH"] if artifacts else [])]
    click.echo(f"\nRun it: {' '.join(['trainwright run', reference, *given])}")
