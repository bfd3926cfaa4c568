"""What every launcher owes: each member in its place, its log, its exit code, and nothing left behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainwright_components.cluster.heartbeats import HeartbeatFile
from trainwright_components.cluster.launchers.docker import DockerContainers
from trainwright_components.cluster.launchers.docker_command import OWNER_LABEL, docker, remove_stale
from trainwright_components.cluster.launchers.local import LocalProcesses
from trainwright_components.cluster.launchers.protocol import ClusterJob, Gang, Launcher
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.cluster.supervisor import run_cluster
from trainwright_components.processes.warm_parent import WarmParent

TARGETS = """
import json, os, signal, sys, time
from pathlib import Path
from trainwright_components.cluster.heartbeats import HeartbeatFile
from trainwright_components.cluster.tf_config import read_tf_config

def show(folder, codes=None, hang=()):
    spec, member = read_tf_config(os.environ)
    config = {"tf_config": json.loads(os.environ["TF_CONFIG"]), "threads": os.environ["TRAINWRIGHT_THREADS"]}
    (Path(folder) / f"{member}.json").write_text(json.dumps({**config, "pid": os.getpid()}))
    print("hello from", member, flush=True)
    HeartbeatFile(folder=Path(folder), member=member)()
    if str(member) in hang:
        signal.pause()
    return (codes or {}).get(str(member), 0)

def fail_once(folder, member_to_fail):
    _, member = read_tf_config(os.environ)
    HeartbeatFile(folder=Path(folder), member=member)()
    tries = Path(folder) / "tries"
    if str(member) == member_to_fail:
        with tries.open("a") as file:
            file.write("x")
        if len(tries.read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return 0

def start_again(folder, victims, wanted):
    # Notes each start; victims die once all have started; done when every member started as often as wanted.
    spec, member = read_tf_config(os.environ)
    HeartbeatFile(folder=Path(folder), member=member)()
    def starts(name):
        file = Path(folder) / f"{name}.starts"
        return file.read_text().splitlines() if file.exists() else []
    with (Path(folder) / f"{member}.starts").open("a") as file:
        print(os.environ["TF_CONFIG"], file=file)
    while any(not starts(name) for name in wanted):
        time.sleep(0.02)
    if str(member) in victims and len(starts(member)) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while any(len(starts(name)) < count for name, count in wanted.items()):
        time.sleep(0.02)
    if member.role in ("ps", "worker") and spec.has_parameter_servers:
        signal.pause()
    return 0

def lack_the_third(folder, comes):
    _, member = read_tf_config(os.environ)
    if member.index == 2 and not comes:
        signal.pause()
    HeartbeatFile(folder=Path(folder), member=member)()
    if member.index == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    workers = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    if len(workers) == 3:
        signal.pause()
    (Path(folder) / f"{member}.workers").write_text(str(len(workers)))
    return 0

def never_join(folder):
    signal.pause()

def save_on_sigterm(folder):
    _, member = read_tf_config(os.environ)
    def save(*_):
        (Path(folder) / f"{member}.saved").touch()
        raise SystemExit(143)
    signal.signal(signal.SIGTERM, save)
    HeartbeatFile(folder=Path(folder), member=member)()
    while True:
        signal.pause()
"""
START_AND_WAIT = """
import json, signal, sys
from pathlib import Path
from trainwright_components.cluster.launchers.docker import DockerContainers
from trainwright_components.cluster.launchers.protocol import ClusterJob
from trainwright_components.cluster.spec import ClusterSpec

folder, mounts, env, image = sys.argv[1:]
Path(folder).mkdir()
job = ClusterJob(
    spec=ClusterSpec.from_mapping({"worker": 2}),
    target="cluster_targets:show",
    arguments={"folder": folder, "hang": ["worker-0", "worker-1"]},
    folder=Path(folder),
)
with DockerContainers(mounts=tuple(map(Path, json.loads(mounts))), env=json.loads(env), image=image) as launcher:
    gang = launcher.start(job)
    while len(gang.heartbeats()) < 2:
        gang.wait(0.1)
    print("started", flush=True)
    signal.pause()
"""
TWO = ClusterSpec.from_mapping({"worker": 2})


def job(folder: Path, target: str = "show", spec: ClusterSpec = TWO, **arguments: Any) -> ClusterJob:
    folder.mkdir(exist_ok=True)
    return ClusterJob(
        spec=spec,
        target=f"cluster_targets:{target}",
        arguments={"folder": str(folder), **arguments},
        folder=folder,
        env={"COLOUR": "red"},
    )


def finish(gang: Gang, members: int) -> dict[str, int]:
    deadline = time.monotonic() + 30
    ended: dict[str, int] = {}
    while len(ended) < members and time.monotonic() < deadline:
        ended = {str(member): code for member, code in gang.wait(1).items()}
    return ended


class LauncherContract:
    """Run by each launcher's own test class, which says how to make one."""

    @pytest.fixture
    def launcher(self) -> Iterator[Launcher]:
        raise NotImplementedError

    def members_left(self, pids: list[int]) -> bool:
        """Whether anything of a closed gang still runs."""
        psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
        return any(psutil.pid_exists(pid) for pid in pids)

    def test_each_member_learns_its_place(self, launcher: Launcher, tmp_path: Path) -> None:
        gang = launcher.start(job(tmp_path / "job"))
        assert finish(gang, 2) == {"worker-0": 0, "worker-1": 0}
        gang.close()
        seen = [json.loads((tmp_path / "job" / f"worker-{index}.json").read_text()) for index in (0, 1)]
        addresses = seen[0]["tf_config"]["cluster"]["worker"]
        assert len(set(addresses)) == 2
        assert [one["tf_config"] for one in seen] == [
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in (0, 1)
        ]

    def test_exit_codes_and_logs_are_per_member(
        self, launcher: Launcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        gang = launcher.start(job(tmp_path / "job", codes={"worker-1": 7}))
        assert finish(gang, 2) == {"worker-0": 0, "worker-1": 7}
        gang.close()
        assert gang.end_of_log(Member(role="worker", index=1)).endswith("hello from worker-1")
        assert {"[worker-0] hello from worker-0", "[worker-1] hello from worker-1"} <= set(caplog.messages)

    def test_closing_ends_all_members(self, launcher: Launcher, tmp_path: Path) -> None:
        gang = launcher.start(job(tmp_path / "job", hang=["worker-0", "worker-1"]))
        while len(gang.heartbeats()) < 2:
            gang.wait(0.1)
        pids = [json.loads((tmp_path / "job" / f"worker-{index}.json").read_text())["pid"] for index in (0, 1)]
        gang.close()
        assert not self.members_left(pids)

    def test_a_killed_member_restarts_all_from_the_start(self, launcher: Launcher, tmp_path: Path) -> None:
        outcome = run_cluster(launcher, job(tmp_path / "job", "fail_once", member_to_fail="worker-1"))
        assert outcome.is_success
        assert [restart.reason for restart in outcome.restarts] == ["worker-1 ended: killed by signal 9"]
        assert (tmp_path / "job" / "tries").read_text() == "xx"

    @pytest.mark.parametrize(
        ("victims", "again"),
        [
            (["worker-1"], ["worker-1"]),
            (["worker-0", "worker-1"], ["worker-0", "worker-1"]),
            (["chief-0"], ["chief-0"]),
            (["ps-0"], ["chief-0", "ps-0"]),
            (["evaluator-0"], ["evaluator-0"]),
        ],
    )
    def test_members_around_parameter_servers_start_again_under_their_addresses(
        self, launcher: Launcher, tmp_path: Path, victims: list[str], again: list[str]
    ) -> None:
        spec = ClusterSpec.from_mapping({"worker": 2, "ps": 1, "evaluator": 1})
        wanted = {str(member): 1 + (str(member) in again) for member in spec.members}
        the_job = job(tmp_path / "job", "start_again", spec=spec, victims=victims, wanted=wanted)
        outcome = run_cluster(launcher, the_job)
        assert outcome.is_success
        reasons = ", ".join(restart.reason for restart in outcome.restarts)
        assert sorted(reasons.split(", ")) == [f"{victim} ended: killed by signal 9" for victim in victims]
        assert sorted(name for restart in outcome.restarts for name in restart.members) == again
        for name, count in wanted.items():
            configs = (the_job.folder / f"{name}.starts").read_text().splitlines()
            assert (len(configs), len(set(configs))) == (count, 1)

    def test_an_evaluator_that_fails_is_given_up_and_harms_nothing(self, launcher: Launcher, tmp_path: Path) -> None:
        spec = ClusterSpec.from_mapping({"worker": 2, "evaluator": 1})
        outcome = run_cluster(launcher, job(tmp_path / "job", spec=spec, codes={"evaluator-0": 1}))
        assert outcome.is_success
        assert [one.reason for one in outcome.restarts] == ["evaluator-0 ended: exit code 1; given up"]

    def test_a_member_that_fails_for_good_is_not_started_again(self, launcher: Launcher, tmp_path: Path) -> None:
        outcome = run_cluster(launcher, job(tmp_path / "job", codes={"worker-0": 1, "worker-1": 138}))
        assert (str(outcome.failed), outcome.exit_code, outcome.reason, outcome.restarts) == (
            "worker-0", 1, "worker-0 ended: exit code 1", []
        )  # fmt: skip
        assert "hello from worker-0" in outcome.end_of_log
        assert outcome.restart_limit is None

    def test_restarts_are_bounded(self, launcher: Launcher, tmp_path: Path) -> None:
        spec = ClusterSpec.from_mapping({"worker": 2, "max_restarts": 1})
        outcome = run_cluster(launcher, job(tmp_path / "job", spec=spec, codes={"worker-1": 138}))
        assert (outcome.is_success, len(outcome.restarts), outcome.exit_code) == (False, 1, 138)
        assert outcome.restart_limit == 1

    @pytest.mark.parametrize("comes", [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_others_go_on_without_a_worker_that_does_not_come_back(
        self, launcher: Launcher, tmp_path: Path, comes: bool
    ) -> None:
        wanted = {"worker": 3, "min_workers": 2, "max_restarts": 1, "rendezvous_timeout_s": 60 if comes else 5}
        spec = ClusterSpec.from_mapping(wanted)
        outcome = run_cluster(launcher, job(tmp_path / "job", "lack_the_third", spec=spec, comes=comes))
        assert outcome.is_success
        why = (
            "worker-2 ended: killed by signal 9"
            if comes
            else "the cluster was not complete after 5 s: worker-2 did not join"
        )
        last = f"{why}; continued with 2 of cluster.worker"
        assert [restart.reason for restart in outcome.restarts] == [why, last][1 - comes :]
        assert outcome.restarts[-1].members == ("worker-0", "worker-1")
        assert [file.read_text() for file in (tmp_path / "job").glob("*.workers")] == ["2", "2"]

    def test_members_that_never_join_are_not_waited_for_for_ever(self, launcher: Launcher, tmp_path: Path) -> None:
        spec = ClusterSpec.from_mapping({"worker": 2, "rendezvous_timeout_s": 0.5, "max_restarts": 0})
        outcome = run_cluster(launcher, job(tmp_path / "job", "never_join", spec=spec))
        assert outcome.reason == "the cluster was not complete after 0.5 s: worker-0, worker-1 did not join"

    def test_members_that_hang_are_not_waited_for_for_ever(self, launcher: Launcher, tmp_path: Path) -> None:
        spec = ClusterSpec.from_mapping({"worker": 2, "stall_timeout_s": 0.5, "max_restarts": 0})
        outcome = run_cluster(launcher, job(tmp_path / "job", spec=spec, hang=["worker-0", "worker-1"]))
        assert outcome.reason == "no member has made a step for 0.5 s"

    def test_a_stop_lets_members_save(self, launcher: Launcher, tmp_path: Path) -> None:
        the_job = job(tmp_path / "job", "save_on_sigterm")

        def have_all_joined() -> bool:
            return len(list((the_job.folder / "heartbeats").glob("*"))) == 2

        outcome = run_cluster(launcher, the_job, should_stop=have_all_joined)
        assert (outcome.was_stopped, outcome.is_success, outcome.exit_code) == (True, False, 143)
        assert sorted(path.name for path in the_job.folder.glob("*.saved")) == ["worker-0.saved", "worker-1.saved"]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmParent]:
    folder = tmp_path_factory.mktemp("launchers")
    (folder / "cluster_targets.py").write_text(TARGETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        with WarmParent.start(("cluster_targets",)) as parent:
            yield parent


class TestLocalProcesses(LauncherContract):
    @pytest.fixture
    def launcher(self, parent: WarmParent) -> Iterator[Launcher]:
        with LocalProcesses(parent=parent) as launcher:
            yield launcher

    def test_the_cores_are_divided_among_the_members(self, launcher: Launcher, tmp_path: Path) -> None:
        gang = launcher.start(job(tmp_path / "job"))
        finish(gang, 2)
        gang.close()
        threads = json.loads((tmp_path / "job" / "worker-0.json").read_text())["threads"]
        assert int(threads) == max(1, (os.cpu_count() or 1) // 2)


@pytest.fixture(scope="session")
def containers(
    docker_image: str, this_python: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> DockerContainers:
    targets = tmp_path_factory.mktemp("containers")
    (targets / "cluster_targets.py").write_text(TARGETS)
    env = {"PYTHONPATH": str(targets), "PYTHONDONTWRITEBYTECODE": "1"}
    return DockerContainers(image=docker_image, mounts=(*this_python, targets), env=env)


def containers_of(owner_pid: int) -> list[str]:
    """Names of containers that a process started."""
    line = f'{{{{.Names}}}}\t{{{{.Label "{OWNER_LABEL}"}}}}'
    rows = docker("ps", "--all", "--filter", f"label={OWNER_LABEL}", "--format", line).splitlines()
    return [name for name, _, owner in (row.partition("\t") for row in rows) if json.loads(owner)[1] == owner_pid]


@pytest.mark.slow
class TestDockerContainers(LauncherContract):
    @pytest.fixture
    def launcher(self, containers: DockerContainers) -> Iterator[Launcher]:
        with containers as launcher:
            yield launcher

    def members_left(self, pids: list[int]) -> bool:
        return bool(containers_of(os.getpid()))

    def test_networks_go_with_their_gangs(self, launcher: Launcher, tmp_path: Path) -> None:
        gang = launcher.start(job(tmp_path / "job"))
        names = docker("network", "ls", "--filter", f"label={OWNER_LABEL}", "--format", "{{.Name}}").split()
        finish(gang, 2)
        gang.close()
        left = docker("network", "ls", "--filter", f"label={OWNER_LABEL}", "--format", "{{.Name}}").split()
        assert len(set(names) - set(left)) == 1

    def test_an_image_that_is_not_there_is_told(self, launcher: Launcher, tmp_path: Path) -> None:
        spec = ClusterSpec.from_mapping({"worker": {"replicas": 1, "image": "no-such-image"}, "max_restarts": 0})
        outcome = run_cluster(launcher, job(tmp_path / "job", spec=spec))
        assert (outcome.exit_code, outcome.is_success) == (125, False)
        assert "No such image: no-such-image" in outcome.end_of_log

    def test_containers_die_with_their_parent_and_the_next_one_clears_up(
        self, launcher: Launcher, containers: DockerContainers, tmp_path: Path
    ) -> None:
        arguments = [json.dumps([*map(str, containers.mounts)]), json.dumps(dict(containers.env)), containers.image]
        command = [sys.executable, "-c", START_AND_WAIT, str(tmp_path / "job"), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "started\n"
            assert len(containers_of(child.pid)) == 2
            child.kill()
        deadline = time.monotonic() + 60
        while containers_of(child.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert containers_of(child.pid) == []
        assert len(remove_stale()) == 1


def test_what_a_member_says_about_joining_is_per_attempt(parent: WarmParent, tmp_path: Path) -> None:
    HeartbeatFile(folder=tmp_path, member=Member(role="worker", index=0))()
    with LocalProcesses(parent=parent) as launcher:
        gang = launcher.start(job(tmp_path, "never_join"))
        assert gang.heartbeats() == {}
        gang.close()
