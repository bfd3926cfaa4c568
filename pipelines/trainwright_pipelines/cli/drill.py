"""`trainwright drill`: inject a fault into a member of a training run, and measure the recovery."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.files import check_local
from trainwright_components.home import find_home
from trainwright_components.processes.quiet_devices import find_devices_quietly
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS, quiet_loggers
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option, parameter_options

if TYPE_CHECKING:
    from trainwright_components.train_distributed.drill import DrillResult

_ROLES = ("chief", "worker", "ps", "evaluator")
_HOWS = ("kill", "terminate", "hang")
_MOMENTS = ("training", "saving", "joining", "finishing")
_SMALL = {"epochs": 3, "checkpoint_every_steps": 10, "deterministic": True}  # when nobody says how to train
_DEFAULT_STEP = 25


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright drill                                     kill the second of two workers at step 25
trainwright drill --role chief --at-step 12 --how hang
trainwright drill --role worker --while saving --json
trainwright drill --params my_project/params.yaml --set cluster.worker=3 --index 2
""",
)
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="worker",
    show_default=True,
    help="Role of the member to hit.",
)
@click.option("--index", type=click.IntRange(min=0), help="Index within the role; the last by default.")
@click.option("--at-step", type=click.IntRange(min=0), help=f"The step from which on; {_DEFAULT_STEP} while training.")
@click.option(
    "--how",
    type=click.Choice(_HOWS),
    default="kill",
    show_default=True,
    help="Kill it, ask it to end, or stop it without ending it.",
)
@click.option(
    "--while",
    "moment",
    type=click.Choice(_MOMENTS),
    default="training",
    show_default=True,
    help="Between two steps, before a checkpoint, before the members met, or before the model is saved.",
)
@click.option("--compare/--no-compare", default=True, help="Train without the fault too, and compare the weights.")
@click.option("--keep", metavar="DIR", type=click.Path(path_type=Path), help="Keep both training runs in DIR.")
@click.option("--logs", is_flag=True, help="Show what the members write.")
@parameter_options
@json_option
def drill(
    role: str,
    index: int | None,
    at_step: int | None,
    how: str,
    moment: str,
    compare: bool,
    keep: Path | None,
    logs: bool,
    settings: tuple[str, ...],
    params_file: Path | None,
    as_json: bool,
) -> None:
    """Inject a fault into one member of a training run; report the steps lost, the times, and the weight difference.

    Trains the digits, or what the parameters of train_and_deploy say, on a cluster of this machine: first without
    the fault, then with it. Exit code 0 when the run with the fault ended with a model, 1 when it did not.
    """
    from trainwright_components.train_distributed.drill import plan_fault, run_drill

    values = _values(settings, params_file)
    cluster = values["cluster"] or None
    step = at_step if at_step is not None else _DEFAULT_STEP if moment == "training" else 0
    fault = plan_fault(role, index, how=how, moment=moment, step=step, cluster=cluster)
    if logs:
        _show_logs()
    else:
        os.environ.setdefault(LEVEL_VARIABLE, WARNINGS_AND_LESS)  # read when TensorFlow is imported, also by members
        find_devices_quietly()
    with _folder(keep) as folder, nullcontext() if logs else quiet_loggers():
        result = run_drill(
            _prepare(values, folder / "dataset"),
            values["module"],
            folder,
            fault,
            params=values["params"],
            training=values["training"] or _SMALL,
            cluster=cluster,
            compare=compare,
            tell=lambda line: click.echo(line, err=True),
        )
    _show(result, as_json=as_json)
    raise click.exceptions.Exit(0 if result.has_survived else 1)


def _values(settings: tuple[str, ...], params_file: Path | None) -> dict[str, Any]:
    from trainwright_pipelines.requests.parameters import declared_parameters, split_setting
    from trainwright_pipelines.requests.preparing import prepare_run

    chosen = [*map(split_setting, settings), ("model_name", "drill")]  # nothing is served under it
    prepared = prepare_run("train_and_deploy", settings=chosen, home=find_home(), params_file=params_file)
    declared = declared_parameters(prepared.pipeline.pipeline)
    return {**{name: parameter.default for name, parameter in declared.items()}, **prepared.values}


def _prepare(values: dict[str, Any], dataset: Path) -> Path:
    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    click.echo(f"preparing {values['source']}", err=True)
    prepare_data(values["source"], dataset, PrepareSettings.from_mapping(values["data"], label=values["label"]))
    return dataset


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        check_local(keep, name="--keep")
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="trainwright-drill-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _show_logs() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _show(result: "DrillResult", *, as_json: bool) -> None:
    from trainwright_pipelines.cli.output import print_json, print_table

    if as_json:
        print_json(result)
        return
    rows = [
        ("fault", f"{result.member}: {result.how} while {result.moment}, at step {result.step}"),
        ("survived", "yes" if result.has_survived else f"no: {result.error}"),
        ("noticed after", _seconds(result.noticed_s)),
        ("training again after", _seconds(result.back_s)),
        ("past the step after", _seconds(result.caught_up_s)),
        ("resumed at step", "-" if result.resumed_at is None else result.resumed_at),
        ("steps lost", "-" if result.steps_lost is None else result.steps_lost),
        ("restarts", "; ".join(result.reasons) or "none"),
        ("largest weight difference", _difference(result.largest_difference)),
        ("whole training run", f"{_seconds(result.disturbed_s)}, without a fault {_seconds(result.undisturbed_s)}"),
    ]
    if result.note:
        rows.append(("note", result.note))
    print_table(rows, header=("DRILL", ""))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _difference(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value else "0 (equal to the last bit)"
