"""`trainwright train`: train a model module on a prepared dataset, alone, on a cluster, or as a member of one."""

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.cluster.tf_config import find_place
from trainwright_components.datasets.schema import SCHEMA_FILE
from trainwright_components.errors import InvalidData, TrainwrightError
from trainwright_components.files import current_folder
from trainwright_components.processes.exit_codes import DONE, FAILED, PEER_LOST, TERMINATED
from trainwright_components.processes.quiet_devices import find_devices_quietly
from trainwright_components.quiet import LEVEL_VARIABLE, WARNINGS_AND_LESS
from trainwright_components.train_distributed.folders import Folders
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option, parameter_options

if TYPE_CHECKING:
    from trainwright_components.training.result import TrainingResult

GROUPS = ("params", "training", "cluster")
_OF_PIPELINES = ("source", "label", "module", "model_name")  # beside the groups, in a project's params.yaml
_STARTS_VARIABLE = "TRAINWRIGHT_STARTS"  # how often a member that lost a peer has started itself again


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright train dataset model.py trained --set training.epochs=5 --set params.units=128
trainwright train dataset model.py trained --set cluster.worker=2         two processes of this machine
trainwright train dataset digits trained --log-dir logs --report report.html --json
trainwright train dataset model.py trained         one member, where TF_CONFIG names several
""",
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("module")
@click.argument("output", default="")
@click.option("--log-dir", "log_dir", default="", metavar="DIR", help="Logs for TensorBoard.")
@click.option("--report", default="", metavar="FILE", help="An HTML page with curves, speed and settings.")
@parameter_options
@json_option
def train(
    dataset: Path,
    module: str,
    output: str,
    log_dir: str,
    report: str,
    settings: tuple[str, ...],
    params_file: Path | None,
    as_json: bool,
) -> None:
    """Train MODULE on DATASET, and write the trained model to OUTPUT.

    DATASET is a folder that prepare_data wrote, MODULE a Python file, a folder, a dotted name or a shipped example.
    --set and --params take the groups params, training and cluster.

    A process that TF_CONFIG (or Vertex AI's CLUSTER_SPEC) names as one of several members takes its part in that
    cluster: start the same line once for each member, each with its own
    TF_CONFIG='{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'.
    The chief alone writes. Without OUTPUT, Vertex AI's AIP_MODEL_DIR and AIP_TENSORBOARD_LOG_DIR say where to write.

    Exit code 138: another member did not come or was lost, and another start may help. 143: ended by SIGTERM, with a
    checkpoint that the next start goes on from.
    """
    before = signal.signal(signal.SIGTERM, _leave)  # the first process of a container would not even notice it
    try:
        folders = Folders.find(output, log_dir, os.environ)
        _run(dataset, module, folders, report, _groups(settings, params_file), as_json=as_json)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(dataset: Path, module: str, folders: Folders, report: str, groups: dict[str, Any], *, as_json: bool) -> None:
    from trainwright_components.training.configuration.settings import TrainingSettings
    from trainwright_pipelines.requests.locations import find_module

    _check_dataset(dataset)
    location = find_module(module, base=current_folder())
    training = TrainingSettings.from_mapping(groups["training"])
    cluster = ClusterSpec.from_mapping(groups["cluster"])
    find_place(os.environ)
    os.environ.setdefault(LEVEL_VARIABLE, WARNINGS_AND_LESS)  # read when TensorFlow is imported
    find_devices_quietly()  # from here on it takes seconds
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from trainwright_components.train_distributed.train import train_model

    try:
        result = train_model(
            dataset,
            location,
            folders.output,
            params=groups["params"],
            training=training,
            cluster=cluster,
            log_dir=folders.log_dir,
            report=report or None,
        )
    except TrainwrightError as error:
        if error.exit_code == PEER_LOST and error.__cause__ is not None:  # of TensorFlow: it had begun to train
            _start_again(cluster.max_restarts, error)
        raise
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else FAILED)
    else:
        _show(result, as_json=as_json)
        _end(DONE)


def _check_dataset(dataset: Path) -> None:
    """Refuse what prepare_data has not written, with the line that does."""
    if not (dataset / SCHEMA_FILE).is_file():
        raise InvalidData(
            f"{dataset} is not a prepared dataset; make one: "
            f"python -c \"import trainwright; trainwright.prepare('{dataset}', 'dataset', {{'label': 'COLUMN'}})\""
        )


def _groups(settings: tuple[str, ...], params_file: Path | None) -> dict[str, dict[str, Any]]:
    """The groups by name; a file of a whole project may hold more, which a training run has no use for."""
    from trainwright_pipelines.requests.groups import GROUPS as ALL_GROUPS
    from trainwright_pipelines.requests.groups import text_settings
    from trainwright_pipelines.requests.inputs import read_params_file
    from trainwright_pipelines.requests.locations import absolute_locations
    from trainwright_pipelines.requests.parameters import Parameter, split_setting, typed_mapping, typed_texts

    groups = {name: Parameter(name=name, type="STRUCT", is_optional=True) for name in GROUPS}
    values: dict[str, Any] = {}
    if params_file is not None:
        found = read_params_file(params_file)
        of_others = {*_OF_PIPELINES, *ALL_GROUPS} - {*GROUPS}
        kept = {name: value for name, value in found.items() if str(name).partition(".")[0] not in of_others}
        values = absolute_locations(typed_mapping(kept, groups), base=params_file.absolute().parent, must_exist=False)
    texts = text_settings({name: each.type for name, each in groups.items()})
    values = typed_texts(map(split_setting, settings), groups, start=values, texts=texts)
    values = absolute_locations(values, base=current_folder(), must_exist=False)
    return {name: values.get(name, {}) for name in GROUPS}


def _start_again(limit: int, error: TrainwrightError) -> None:
    """As a member that has lost a peer, be a fresh process, which waits for all others to come back; or return."""
    starts = int(os.environ.get(_STARTS_VARIABLE, "0"))
    if starts >= limit:
        return
    logging.getLogger(__name__).warning("%s; restart %d of %d", error, starts + 1, limit)
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ[_STARTS_VARIABLE] = str(starts + 1)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # what this process was started as


def _show(result: "TrainingResult", *, as_json: bool) -> None:
    from trainwright_pipelines.cli.output import print_json, print_table

    if as_json:
        print_json(result)
        return
    rows = [
        ("model", result.model_folder),
        ("strategy", f"{result.strategy}: {result.strategy_reason}"),
        ("steps", result.steps),
        ("resumed at step", result.resumed_at or "-"),
        ("seconds", f"{result.seconds:.1f}"),
        *((name, f"{value:.4f}") for name, value in result.numbers.items()),
    ]
    if result.stop_reason:
        rows.append(("stopped", result.stop_reason))
    print_table(rows, header=("TRAINED", ""))


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow 2.21 may linger for 20 s after a training run with several members
