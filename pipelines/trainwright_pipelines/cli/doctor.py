"""`trainwright doctor` and `trainwright devices`: is this installation able to work, and on what."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from trainwright_components.home import home_folder
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table

if TYPE_CHECKING:
    from trainwright_pipelines.cli.device_plan import DevicePlan

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
trainwright devices --set training.logical_devices=2
trainwright devices --set training.devices.memory_growth=true --set cluster.worker=2 --json
""",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting such as training.strategy or cluster.worker: show what a training run with it would use.",
)
@json_option
def devices(settings: tuple[str, ...], as_json: bool) -> None:
    """Show the processors that TensorFlow sees, and which of them a training would use."""
    from trainwright_pipelines.cli.device_plan import plan_devices
    from trainwright_pipelines.cli.hardware import read_hardware, without_native_messages
    from trainwright_pipelines.requests.parameters import Parameter, split_setting, typed_texts

    groups = {name: Parameter(name=name, type="STRUCT") for name in ("training", "cluster")}
    values = typed_texts(map(split_setting, settings), groups)
    hardware = read_hardware()
    with without_native_messages():
        plan = plan_devices(values.get("training", {}), values.get("cluster", {}))
    if as_json:
        print_json({**asdict(hardware), "would_use": asdict(plan)})
        return
    click.echo(
        f"{hardware.cores} cores ({hardware.processor}), "
        f"{hardware.memory_gb:.1f} GB of memory ({hardware.available_memory_gb:.1f} GB free)"
    )
    click.echo(f"TensorFlow {hardware.tensorflow}: {hardware.build}")
    print_table([(each.name, each.kind, each.details) for each in hardware.devices], header=("DEVICE", "KIND", ""))
    for line in hardware.notes:
        click.echo(line)
    _show_plan(plan)


def _show_plan(plan: "DevicePlan") -> None:
    click.echo(f"\nA training would use: {plan.strategy} ({plan.reason})")
    each = f" in each of {plan.processes} processes" if plan.processes > 1 else ""
    click.echo(f"  on {', '.join(plan.replica_devices) or 'the TPU'}{each}, of {', '.join(plan.logical_devices)}")
    within, between = (count or "automatic" for count in (plan.threads_within, plan.threads_between))
    click.echo(f"  threads within operations: {within}, between them: {between}; precision: {plan.precision}")
    for line in plan.notes:
        click.echo(f"  {line}")
