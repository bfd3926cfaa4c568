"""`trainwright serve` and `trainwright predict`: the model server of this machine."""

import json
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidSetting, ServingUnavailable
from trainwright_pipelines.cli.lazy import ExampleCommand, LazyGroup
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table
from trainwright_pipelines.home import find_home
from trainwright_pipelines.suggestions import did_you_mean

if TYPE_CHECKING:
    from trainwright_components.model_server.control import ServerStatus
    from trainwright_components.model_server.serving_home import ServerInfo

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
""",
)
@click.option("--rest-port", type=click.IntRange(0, 65535), default=0, help="Port of REST; 0 finds one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=0, help="Port of gRPC; 0 finds one.")
@json_option
def start(rest_port: int, grpc_port: int, as_json: bool) -> None:
    """Start the model server, with all models deployed here; nothing happens when it runs already."""
    from trainwright_components.model_server.control import server_status, start_server

    home = find_home().root
    info = start_server(home, rest_port=rest_port, grpc_port=grpc_port)
    status = server_status(home)
    if as_json:
        print_json(_document(status))
        return
    click.echo(f"serving: {info.rest_address} (REST), {info.grpc_address} (gRPC)")
    if status is not None:
        _print_models(status)
    click.echo("stop: trainwright serve stop")


@click.command(cls=ExampleCommand, examples="trainwright serve stop")
@json_option
def stop(as_json: bool) -> None:
    """Stop the model server; models and versions stay on disk."""
    from trainwright_components.model_server.control import stop_server

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
    from trainwright_components.model_server.control import server_status

    found = server_status(find_home().root)
    if as_json:
        print_json(_document(found))
    elif found is None:
        click.echo("not running; none was ever started here. Start one: trainwright serve start")
    else:
        _print_status(found)
    if found is None or not found.is_answering:
        raise click.exceptions.Exit(3)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright predict my_project --example                       a row that the model was tested with
trainwright predict my_project '{"age": 42, "city": "Bern"}'
trainwright predict my_project --file rows.csv
trainwright predict digits --file rows.jsonl --json
""",
)
@click.argument("model")
@click.argument("rows", required=False)
@click.option("--file", "file", type=click.Path(), help="Rows: CSV, JSON or JSON lines; - reads standard input.")
@click.option("--example", "use_example", is_flag=True, help="Send a row that the model was tested with.")
@click.option("--signature", default="", metavar="NAME", help="Another signature than serving_default.")
@click.option("--version", type=click.IntRange(0), help="Another version than the newest.")
@click.option("--address", default="", metavar="URL", help="Another server than this machine's.")
@json_option
def predict(
    model: str,
    rows: str | None,
    file: str | None,
    use_example: bool,
    signature: str,
    version: int | None,
    address: str,
    as_json: bool,
) -> None:
    """Ask the served MODEL about ROWS: one JSON object or a list of them.

    A row names the features as they are in the data; the served model does the preprocessing.
    """
    from trainwright_components.model_server.client import predict as ask
    from trainwright_pipelines.cli.rows import parse_rows, read_rows_file
    from trainwright_pipelines.cli.served_model import ServedModel, find_served_model

    if sum((rows is not None, file is not None, use_example)) != 1:
        raise InvalidSetting("give rows in one way: as an argument, with --file, or with --example")
    served = ServedModel(name=model) if address else find_served_model(find_home().root, model)
    if use_example:
        if address:
            raise InvalidSetting("--example sends a row of this machine's own runs; with --address give a row")
        _running_server(model)
        instances = served.example_rows(limit=1)
    elif file is not None:
        instances = read_rows_file(file, schema=served.schema)
    else:
        instances = parse_rows(rows or "")
    answer = ask(
        address or _running_server(model).rest_address,
        model,
        instances=instances,
        signature_name=signature,
        version=version,
    )
    if as_json:
        print_json({"model": model, "instances": instances, "predictions": answer})
        return
    if use_example:
        click.echo(f"sent: {json.dumps(instances[0])}")
    for line in answer:
        click.echo(json.dumps(line))


def _running_server(model: str) -> "ServerInfo":
    from trainwright_components.model_server.control import server_status

    found = server_status(find_home().root)
    if found is None or not found.is_answering:
        raise ServingUnavailable("the model server does not run; start it: trainwright serve start")
    names = [each.name for each in found.models]
    if model not in names:
        raise InvalidSetting(f"no model {model!r} is served{did_you_mean(model, names)}")
    return found.info


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
        "message": found.message,
        "log_file": str(found.log_file),
        "models": [
            {"name": each.name, "url": each.url, "base_path": each.base_path, "versions": each.versions}
            for each in found.models
        ],
    }
