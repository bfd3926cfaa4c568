"""`trainwright predict`: ask a served model."""

from typing import TYPE_CHECKING

import click

from trainwright_components.errors import InvalidSetting
from trainwright_components.home import find_home
from trainwright_components.saved_models.signatures import SERVING_DEFAULT
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import json_text, print_json

if TYPE_CHECKING:
    from trainwright_components.datasets.schema import Schema
    from trainwright_pipelines.requests.served_models import ServedModel


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright predict my_project --example                       a row that the model was tested with
trainwright predict my_project '{"age": 42, "city": "Bern"}'
trainwright predict my_project --file rows.csv
trainwright predict flowers --file rose.jpg
trainwright predict digits --file rows.jsonl --json
""",
)
@click.argument("model")
@click.argument("rows", required=False)
@click.option(
    "--file",
    "file",
    type=click.Path(),
    help="Rows in any format that a model can be trained on; - reads JSON from standard input.",
)
@click.option("--encoding", default="", metavar="NAME", help="Of a text file, such as cp1252; else found.")
@click.option("--delimiter", default="", metavar="SIGN", help="Between the values of a text file; else found.")
@click.option(
    "--header", type=click.Choice(["auto", "yes", "no"]), default="auto", help="Whether its first line has names."
)
@click.option(
    "--example", "use_example", is_flag=True, help="Send a row that this version was tested with, and show its answer."
)
@click.option("--signature", default="", metavar="NAME", help="Another signature than serving_default.")
@click.option("--version", type=click.IntRange(0), help="Another version than the newest.")
@click.option("--address", default="", metavar="URL", help="Another server than this machine's.")
@json_option
def predict(
    model: str,
    rows: str | None,
    file: str | None,
    encoding: str,
    delimiter: str,
    header: str,
    use_example: bool,
    signature: str,
    version: int | None,
    address: str,
    as_json: bool,
) -> None:
    """Ask the served MODEL about ROWS: one JSON object or a list of them.

    A row names the features as they are in the data; the served model does the preprocessing.
    """
    from trainwright_components.model_server.operation.client import predict as ask

    if sum((rows is not None, file is not None, use_example)) != 1:
        raise InvalidSetting("give rows in one way: as an argument, with --file, or with --example")
    if file is None and (encoding or delimiter or header != "auto"):
        raise InvalidSetting("--encoding, --delimiter and --header say how a file is written; give it with --file")
    if use_example:
        if address:
            raise InvalidSetting("--example sends a row that this machine keeps; with --address give a row")
        _ask_example(model, signature, version, as_json=as_json)
        return
    from trainwright_pipelines.requests.served_models import server_address

    served = None if address else _deployed(model, version)
    schema = served.schema if served and signature in ("", SERVING_DEFAULT) else None
    instances = _read(rows, file or "", schema, encoding=encoding, delimiter=delimiter, header=header)
    address = address or server_address(find_home().root)
    answer = ask(address, model, instances=instances, signature_name=signature, version=version)
    if as_json:
        print_json({"model": model, "instances": instances, "predictions": answer})
        return
    for line in answer:
        click.echo(json_text(line))


def _ask_example(model: str, signature: str, version: int | None, *, as_json: bool) -> None:
    """Ask the served version itself, lest another one takes over between the choice of the row and the answer."""
    from trainwright_components.model_server.operation.client import predict as ask
    from trainwright_pipelines.requests.served_models import server_address

    served = _deployed(model, version)
    address = server_address(find_home().root)
    example = served.example(signature or SERVING_DEFAULT)
    answer = ask(address, model, instances=[example.row], signature_name=signature, version=served.version)
    if as_json:
        document = {"model": model, "version": served.version, "instances": [example.row], "predictions": answer}
        print_json({**document, "expected": [example.expected]})
        return
    click.echo(f"sent to version {served.version}: {json_text(example.row)}")
    click.echo(f"expected: {json_text(example.expected, sort_keys=True)}")
    click.echo(f"answered: {json_text(answer[0], sort_keys=True)}")


def _deployed(model: str, version: int | None) -> "ServedModel":
    from trainwright_pipelines.requests.served_models import find_served_model

    return find_served_model(find_home().root, model, version=version)


def _read(rows: str | None, file: str, schema: "Schema | None", **written: str) -> list[object]:
    from trainwright_components.datasets.sources.dialect import DialectOptions
    from trainwright_pipelines.requests.rows import fit_rows, parse_rows, read_rows_file

    if rows is None:
        return read_rows_file(file, schema=schema, dialect=DialectOptions(**written, said_by="--"))
    parsed = parse_rows(rows)
    return fit_rows(parsed, schema) if schema else parsed
