"""`trainwright serve`: the model server of this machine."""

from typing import TYPE_CHECKING, Any

import click

from trainwright_components.home import find_home
from trainwright_components.model_server.operation.programs import PROGRAMS
from trainwright_pipelines.cli.lazy import ExampleCommand, LazyGroup
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table

if TYPE_CHECKING:
    from trainwright_components.model_server.operation.control import ServerStatus

_HERE = "trainwright_pipelines.cli.serve"
SERVE_COMMANDS = {
    "start": (f"{_HERE}:start", "Start the model server, with all models deployed here."),
    "stop": (f"{_HERE}:stop", "Stop the model server; models and versions stay."),
    "status": (f"{_HERE}:status", "Show the server, its models and their versions."),
}


@click.group(
    cls=LazyGroup,
    table=SERVE_COMMANDS,
    examples="""\
trainwright serve start
trainwright serve status
trainwright serve stop
""",
)
def serve() -> None:
    """Start, stop and look at the model server of this machine.

    It answers TensorFlow Serving's REST and gRPC on loopback, outside of any run.
    """


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright serve start
trainwright serve start --rest-port 8501 --grpc-port 8500
trainwright serve start --server tensorflow_model_server     TensorFlow Serving's own, if it is on the PATH
""",
)
@click.option("--rest-port", type=click.IntRange(0, 65535), default=0, help="Port of REST; 0 finds one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=0, help="Port of gRPC; 0 finds one.")
@click.option(
    "--server", type=click.Choice(PROGRAMS), default=None, help="What serves, now and by default later. [trainwright]"
)
@json_option
def start(rest_port: int, grpc_port: int, server: str | None, as_json: bool) -> None:
    """Start the model server, with all models deployed here; nothing happens when it runs already.

    TensorFlow Serving's own server listens on every address of this machine, not on loopback alone.
    """
    from trainwright_components.model_server.operation.control import server_status, start_server

    home = find_home().root
    info = start_server(home, rest_port=rest_port, grpc_port=grpc_port, program=server or "")
    status = server_status(home)
    if as_json:
        print_json(_document(status))
        return
    click.echo(f"serving: {info.rest_address} (REST), {info.grpc_address} (gRPC), {info.program}")
    if status is not None:
        _print_models(status)
    click.echo("stop: trainwright serve stop")


@click.command(cls=ExampleCommand, examples="trainwright serve stop")
@json_option
def stop(as_json: bool) -> None:
    """Stop the model server; models and versions stay on disk."""
    from trainwright_components.model_server.operation.control import stop_server

    was_running = stop_server(find_home().root)
    if as_json:
        print_json({"was_running": was_running})
        return
    click.echo("stopped" if was_running else "no server was running")


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright serve status
trainwright serve status --json
""",
)
@json_option
def status(as_json: bool) -> None:
    """Show the server, its models and their versions; exit code 3 when it does not run."""
    from trainwright_components.model_server.operation.control import server_status

    found = server_status(find_home().root)
    if as_json:
        print_json(_document(found))
    elif found is None:
        click.echo("not running; none was ever started here. Start one: trainwright serve start")
    else:
        _print_status(found)
    if found is None or not found.is_answering:
        raise click.exceptions.Exit(3)


def _print_status(found: "ServerStatus") -> None:
    if found.is_running:
        state = "running" if found.is_answering else "not answering"
        click.echo(f"{state}: {found.info.rest_address} (REST), {found.info.grpc_address} (gRPC)")
    else:
        click.echo(f"not running; it was at {found.info.rest_address}. Start it: trainwright serve start")
    if found.message:
        click.echo(found.message)
    _print_models(found)
    click.echo(f"log: {found.log_file}")


def _print_models(found: "ServerStatus") -> None:
    rows = [
        (each.name, ", ".join(f"{number} {state}" for number, state in each.versions.items()), each.url)
        for each in found.models
    ]
    if rows:
        print_table(rows, header=("MODEL", "VERSIONS", "ADDRESS"))
    else:
        click.echo("no model is deployed here yet: trainwright run train_and_deploy")


def _document(found: "ServerStatus | None") -> dict[str, Any]:
    if found is None:
        return {"is_running": False, "is_answering": False, "models": []}
    return {
        "is_running": found.is_running,
        "is_answering": found.is_answering,
        "rest_address": found.info.rest_address,
        "grpc_address": found.info.grpc_address,
        "program": found.info.program,
        "message": found.message,
        "log_file": str(found.log_file),
        "models": [
            {"name": each.name, "url": each.url, "base_path": each.base_path, "versions": each.versions}
            for each in found.models
        ],
    }
