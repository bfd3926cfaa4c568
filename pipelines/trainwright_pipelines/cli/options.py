"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trainwright_pipelines.targets import DEFAULT_TARGET, TARGETS

_JSON_HELP = "Print one JSON document and nothing else on standard output."
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`: one document on stdout and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)(function)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--target` and the target's own settings."""
    target = click.option(
        "--target",
        type=click.Choice(tuple(TARGETS)),
        default=DEFAULT_TARGET,
        show_default=True,
        help="Where: this machine, Kubeflow Pipelines or Vertex AI Pipelines.",
    )
    setting = click.option(
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the target, such as host or pipeline_root. More than once if needed.",
    )
    return target(setting(function))


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What only this machine's engine is told: `--artifact`, `--require-outputs` and `--isolation`."""
    given = click.option(
        "--artifact",
        "artifacts",
        multiple=True,
        metavar="NAME=PATH",
        help="An artifact that the pipeline takes: a path, or an address such as gs://. More than once if needed.",
    )
    required = click.option(
        "--require-outputs",
        "requires_outputs",
        is_flag=True,
        envvar="TRAINWRIGHT_REQUIRE_OUTPUTS",
        show_envvar=True,
        help="Fail each step that leaves a declared artifact unwritten; as on Kubeflow, only a warning else.",
    )
    isolation = click.option(
        "--isolation",
        "isolation",
        multiple=True,
        metavar="[STEP=]process|container",
        help="What steps run in on this machine, or one step: a process, or a container of its image. Else lightweight "
        "components run as processes, code that is in an image in containers. More than once if needed.",
    )
    return given(required(isolation(function)))


def parameter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--set` and `--params`."""
    one = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A parameter of the pipeline; params.NAME=VALUE sets one entry of a mapping. A value that "
        "begins with ./, ../ or ~/ and is there is a path from this folder.",
    )
    many = click.option(
        "--params",
        "params_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Parameters as YAML or JSON; relative paths in it start at its folder.",
    )
    return one(many(function))
