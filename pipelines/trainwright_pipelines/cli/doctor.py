"""`trainwright doctor` and `trainwright devices`: is this installation able to work, and on what."""

import click

from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table
from trainwright_pipelines.home import home_folder

_SIGNS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "red")}


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright doctor
trainwright doctor --quick                   without importing TensorFlow and kfp
trainwright doctor --json
""",
)
@click.option("--quick", is_flag=True, help="Leave out what takes seconds: importing TensorFlow and kfp.")
@json_option
def doctor(quick: bool, as_json: bool) -> None:
    """Check this installation and say what to mend; exit code 1 when something does not work."""
    from trainwright_pipelines.cli.health import check_health

    findings = []
    for finding in check_health(home_folder(), is_quick=quick):
        findings.append(finding)
        if as_json:
            continue
        sign, colour = _SIGNS[finding.level]
        click.secho(f"{sign:<6}", fg=colour, nl=False)
        click.echo(f"{finding.subject:<14}{finding.message}")
        if finding.advice:
            click.echo(f"{'':<20}{finding.advice}")
    if as_json:
        print_json(findings)
    raise click.exceptions.Exit(1 if any(each.level == "error" for each in findings) else 0)


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright devices
trainwright devices --json
""",
)
@json_option
def devices(as_json: bool) -> None:
    """Show the processors that TensorFlow sees, and what else this machine has."""
    from trainwright_pipelines.cli.hardware import read_hardware

    hardware = read_hardware()
    if as_json:
        print_json(hardware)
        return
    click.echo(
        f"{hardware.cores} cores ({hardware.processor}), "
        f"{hardware.memory_gb:.1f} GB of memory ({hardware.available_memory_gb:.1f} GB free)"
    )
    click.echo(f"TensorFlow {hardware.tensorflow}: {hardware.build}")
    print_table([(each.name, each.kind, each.details) for each in hardware.devices], header=("DEVICE", "KIND", ""))
    for line in hardware.notes:
        click.echo(line)
