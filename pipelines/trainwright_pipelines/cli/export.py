"""`trainwright runs export`: one run as an archive for another machine."""

from pathlib import Path

import click

from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json
from trainwright_pipelines.cli.runs import opened_store


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs export RUN
trainwright runs export RUN --output run.zip --json
""",
)
@click.argument("run", default="latest", metavar="[RUN]")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A .tar.gz or a .zip, which is replaced; by default RUN.tar.gz here.",
)
@json_option
def export(run: str, output: Path | None, as_json: bool) -> None:
    """Write a run into one archive: unpack it elsewhere and open index.html, no server is needed.

    It has the run's page, record, artifacts and logs, without paths of this machine or secrets. What the run only
    referred to, such as the data that it read, is left out.
    """
    from trainwright_pipelines.service.archive import export_run
    from trainwright_pipelines.views.wording import short_size

    with opened_store() as store:
        found = store.run(run)
        exported = export_run(store, found.id, (output or Path(f"{found.id}.tar.gz")).absolute())
    if as_json:
        print_json(exported)
        return
    click.echo(f"{exported.file}  {short_size(exported.size_bytes)}, {exported.files} files")
    if exported.left_out:
        click.echo(f"left out, since it lies elsewhere or is gone: {', '.join(exported.left_out)}", err=True)
    if exported.files_with_paths:
        click.echo(f"these files hold paths of this machine: {', '.join(exported.files_with_paths)}", err=True)
