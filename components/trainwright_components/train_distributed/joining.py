"""Join the cluster that another launcher, or a person, started this process as a member of.

`TF_CONFIG` and the like tell the members' addresses. What members do is what those of our own launchers do
(`training.members`); what differs is who starts them, so that here they first find each other. The chief alone writes;
the others need the module, the dataset, and to go on from a checkpoint its folder, under the same paths or others.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainwright_components.cluster.heartbeats import HEARTBEATS_FOLDER, JOINING, HeartbeatFile, SendHeartbeat
from trainwright_components.cluster.rendezvous import DONE_WORD, Hello, check_port, chief_of, gathered, missing_peer
from trainwright_components.cluster.rules import EVALUATOR, servers
from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.cluster.tf_config import Place, read_tf_config
from trainwright_components.datasets.schema import SCHEMA_FILE
from trainwright_components.datasets.statistics import STATISTICS_FILE
from trainwright_components.errors import InvalidSetting, TrainwrightError, first_line
from trainwright_components.files import content_digest
from trainwright_components.processes.exit_codes import DONE
from trainwright_components.processes.locks import LockTaken, acquire
from trainwright_components.processes.quiet_devices import find_devices_quietly
from trainwright_components.train_distributed.checking import check_alone
from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.training.contexts import make_context
from trainwright_components.training.members.member import (
    load_for_member,
    lost_peer_errors,
    read_error,
    take_part,
    write_error,
)
from trainwright_components.training.result import TrainingResult, read_result
from trainwright_components.training.run import prepare_output
from trainwright_components.training.strategies.choice import choose_strategy
from trainwright_components.training.trained_model import TRAINING_FILE
from trainwright_components.user_module.keras_process import call_in_new_process
from trainwright_components.user_module.module import ModelModule, resolve_params

logger = logging.getLogger(__name__)

CLUSTER_FOLDER = "cluster"  # logs and heartbeats of the members; stays when training fails
_LOCK = ".lock"
_OF_ONE_MACHINE = ("threads", "devices", "progress_every_s")  # settings that members may have of their own


def join_cluster(
    place: Place,
    given: ClusterSpec,
    module: ModelModule,
    dataset: Path,
    output: Path,
    *,
    params: Mapping[str, Any],
    settings: TrainingSettings,
    log_dir: Path | None,
) -> TrainingResult:
    """Train, serve or evaluate as the member that `place` says, until the training run has ended.

    Of the settings of the cluster that are `given` the deadlines count; `place` names the members.

    Returns:
        What was trained; from the evaluator what the chief recorded.

    Raises:
        SystemExit: A member that serves has ended with the training run, or SIGTERM came.
        InvalidSetting: `given` names other members, a port is taken, or the members were started differently.
        TrainingFailed: A member did not come, or was lost; its exit code says that another start may help.
    """
    cluster = _merged(place, given)
    choose_strategy(settings, cluster)  # refuses before anybody is waited for
    os.environ.update(place.to_env())  # in TensorFlow's own words
    member = _Joined(
        place=place,
        cluster=cluster,
        module=module,
        dataset=dataset,
        output=output,
        params=params,
        settings=settings,
    )
    try:
        result = member.run(log_dir)
    except lost_peer_errors() as error:
        raise missing_peer(
            f"lost a peer ({first_line(error)}); start all members again with the same line, and they go on from the "
            "last checkpoint"
        ) from error
    return result if result is not None else read_result(output)


def _merged(place: Place, given: ClusterSpec) -> ClusterSpec:
    """The cluster of `place` with the deadlines of `given`.

    Raises:
        InvalidSetting: `given` names other members, or starts them.
    """
    found = place.spec
    named = {role: count for role, count in given.to_mapping().items() if role != EVALUATOR.role}
    if named and named != found.to_mapping():
        asked = ", ".join(f"{role}: {count}" for role, count in named.items())
        raise InvalidSetting(
            f"cluster asks for {asked}, but {place.variable} makes this process {place.in_words}: leave the members "
            f"out of cluster, or unset {place.variable} to have them started here"
        )
    if given.launcher != ClusterSpec().launcher:
        raise InvalidSetting(
            f"cluster.launcher={given.launcher} starts members, but {place.variable} says that they are started: "
            f"leave it out, or unset {place.variable}"
        )
    return replace(
        found, rendezvous_timeout_s=given.rendezvous_timeout_s, stall_timeout_s=given.stall_timeout_s, mounts=()
    )


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """One member, in this process."""

    place: Place
    cluster: ClusterSpec
    module: ModelModule
    dataset: Path
    output: Path
    params: Mapping[str, Any]
    settings: TrainingSettings

    def run(self, log_dir: Path | None) -> TrainingResult | None:
        if self.place.member == EVALUATOR:
            watch = ChiefWatch(output=self.output, cluster=self.cluster)
            return self._take_part(log_dir, _ignore, is_over=watch.is_over)
        check_port(self.place)
        if self.place.is_chief:
            return self._lead(log_dir)
        hello = Hello(
            place=self.place,
            terms=self._terms(),
            timeout_s=self.cluster.rendezvous_timeout_s,
            must_wait=self.place.member not in servers(self.cluster),
        )
        if not hello.must_wait:
            return self._take_part(log_dir, _ServerWatch(hello=hello, output=self.output))
        find_devices_quietly()  # imports TensorFlow, while the chief looks at the module
        hello.wait_to_go()
        with _join_deadline(self.cluster, self.place) as send_heartbeat:
            return self._take_part(log_dir, send_heartbeat, takes_alone=bool(hello.agreed.get("takes_alone")))

    def _lead(self, log_dir: Path | None) -> TrainingResult | None:
        folder, member = self.output / CLUSTER_FOLDER, self.place.member
        with (
            gathered(self.place, self._terms(), timeout_s=self.cluster.rendezvous_timeout_s, find=self._find) as found,
            only_run_in(self.output),
        ):
            shutil.rmtree(folder, ignore_errors=True)
            context = make_context(self.module, self.dataset, self.params, self.settings)
            prepare_output(self.output, self.module, context, self.settings)
            beat = HeartbeatFile(folder=folder, member=member)
            beat(JOINING)
            try:
                with _join_deadline(self.cluster, self.place, beat) as send_heartbeat:
                    result = self._take_part(log_dir, send_heartbeat, takes_alone=bool(found["takes_alone"]))
            except TrainwrightError as error:
                write_error(folder, member, error)  # for the evaluator
                raise
        shutil.rmtree(folder, ignore_errors=True)
        return result

    def _find(self) -> Mapping[str, Any]:
        location = str(self.module.location)
        alone = call_in_new_process(check_alone, self.cluster, location, self.dataset, self.params, self.settings)
        return {"takes_alone": alone}

    def _take_part(
        self, log_dir: Path | None, send_heartbeat: SendHeartbeat, *, takes_alone: bool = False, **watching: Any
    ) -> TrainingResult | None:
        return take_part(
            lambda: load_for_member(self.module.location, takes_alone=takes_alone) if takes_alone else self.module,
            self.dataset,
            self.output,
            cluster=self.cluster,
            member=self.place.member,
            params=self.params,
            settings=self.settings,
            log_dir=log_dir,
            send_heartbeat=send_heartbeat,
            **watching,
        )

    def _terms(self) -> dict[str, Any]:
        """What all members have to be started with, by the names that a person knows."""
        training = {
            f"training.{name}": value for name, value in asdict(self.settings).items() if name not in _OF_ONE_MACHINE
        }
        params = {f"params.{name}": value for name, value in resolve_params(self.module, self.params).items()}
        files = {
            "the module's content": self.module.location,
            **{f"the dataset's {name}": self.dataset / name for name in (SCHEMA_FILE, STATISTICS_FILE)},
        }
        contents = {name: content_digest(path) if path.exists() else "" for name, path in files.items()}
        return {**training, **params, **contents, "trainwright": version("trainwright")}


def _ignore(*_: object, **__: object) -> None:
    """No heartbeat: nobody watches over this member."""


_COUNT = """
import os, select, signal, sys
parent, seconds, message = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if not select.select([0], [], [], seconds)[0] and os.getppid() == parent:
    print(message, file=sys.stderr)
    os.kill(parent, signal.SIGKILL)
"""


@contextmanager
def _join_deadline(cluster: ClusterSpec, place: Place, beat: SendHeartbeat = _ignore) -> Iterator[SendHeartbeat]:
    """Heartbeats for a member that is about to connect; one that never does, since another has gone, is killed.

    A process beside it does so: TensorFlow 2.21 waits for ever with Python's lock held, so that no thread runs.
    """
    limit = cluster.rendezvous_timeout_s
    message = (
        f"{place.member} could not connect to all others within {limit:g} s, as one of them ended: killed; "
        "start all members again"
    )
    command = [sys.executable, "-I", "-S", "-c", _COUNT, str(os.getpid()), str(limit), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as counter:

        def send_heartbeat(phase: str = "", step: int = 0) -> None:
            if phase != JOINING:
                counter.kill()
            beat(phase, step)

        try:
            yield send_heartbeat
        finally:
            counter.kill()


@dataclass(kw_only=True)
class _ServerWatch:
    """Heartbeats of a member that serves: it listens to the chief, and ends with the training run."""

    hello: Hello
    output: Path
    _before: Any = field(init=False)

    def __post_init__(self) -> None:
        self._before = _mark(self.output / TRAINING_FILE)

    def __call__(self, *_: object, **__: object) -> None:
        try:
            is_over = self.hello.hears(0.01) == DONE_WORD
        except TrainwrightError:
            is_over = _mark(self.output / TRAINING_FILE) not in (None, self._before)
            if self.hello.is_connected or not is_over:  # else it ended while this member had no connection
                raise
        if is_over:
            raise SystemExit(DONE)


@dataclass(kw_only=True)
class ChiefWatch:
    """What an evaluator, which no other member knows of, sees of the chief in the folder that they share."""

    output: Path
    cluster: ClusterSpec
    _before: Any = field(init=False)
    _has_begun: bool = False
    _beat: Any = None
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._before = _mark(self.output / TRAINING_FILE)

    def is_over(self) -> bool:
        """Whether the training run has ended; one that had before counts once no other begins in time.

        Raises:
            TrainingFailed: The chief never began, or sends no heartbeat any more.
            TrainwrightError: What the chief failed with.
        """
        chief, waited = chief_of(self.cluster), time.monotonic() - self._since
        folder = self.output / CLUSTER_FOLDER
        now = _mark(self.output / TRAINING_FILE)
        if now is not None and (now != self._before or waited > self.cluster.rendezvous_timeout_s):
            return True
        beat = _mark(folder / HEARTBEATS_FOLDER / str(chief))
        if beat is not None and beat != self._beat:
            self._beat, self._since, self._has_begun = beat, time.monotonic(), self._beat is not None
        if self._has_begun and (error := read_error(folder, chief)) is not None:
            raise error
        limit = self.cluster.stall_timeout_s if self._beat is not None else self.cluster.rendezvous_timeout_s
        if now is None and waited > limit:
            raise missing_peer(
                f"{chief} has written no heartbeat to {folder} for {limit:g} s: the evaluator needs the OUTPUT of the "
                "chief on a disk that both see; start both again"
            )
        return False


def _mark(file: Path) -> Any:
    """What changes when the file is written again; None where it is not."""
    with contextlib.suppress(FileNotFoundError):
        status = file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino
    return None


def heartbeats_of_one(environ: Mapping[str, str], output: Path) -> SendHeartbeat:
    """Those of a process that trains alone: an evaluator, which it would not know of, is told by `TF_CONFIG` of it."""
    found = read_tf_config(environ)
    return _ignore if found is None else HeartbeatFile(folder=output / CLUSTER_FOLDER, member=found[1])


@contextmanager
def only_run_in(output: Path) -> Iterator[None]:
    """Hold `output` for the training run that writes it.

    Raises:
        InvalidSetting: Another one writes it.
    """
    was_there = output.is_dir()
    lock = output / _LOCK
    handle = _acquire(lock, output)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)
        if not was_there:
            with contextlib.suppress(OSError):
                output.rmdir()  # nothing was written


def _acquire(lock: Path, output: Path) -> int:
    while True:
        try:
            handle = acquire(lock, timeout_s=0)
        except LockTaken as error:
            raise InvalidSetting(
                f"another training run writes to {output} now: wait for its end, or give this one another folder"
            ) from error
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # the one that had it has just removed it
