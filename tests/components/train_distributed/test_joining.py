"""A process joins the cluster that another launcher, or a person, started it as a member of."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster.heartbeats import HeartbeatFile
from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.cluster.tf_config import build_tf_config
from trainwright_components.errors import InvalidSetting, TrainingFailed, UserCodeError
from trainwright_components.processes.ports import HeldPorts
from trainwright_components.train_distributed.folders import Folders
from trainwright_components.train_distributed.joining import CLUSTER_FOLDER, ChiefWatch, only_run_in
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.members.member import write_error

NET = Path(__file__).parent / "modules" / "net.py"
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4}
WORKER_1 = Member(role="worker", index=1)


def test_settings_of_a_cluster_beside_one_that_is_there(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(training: dict[str, Any] | None = None, **cluster: Any) -> str:
        with pytest.raises((InvalidSetting, TrainingFailed)) as caught:
            train_model(small_dataset, NET, tmp_path / "model", training=training, cluster=cluster)
        return str(caught.value)

    with HeldPortsOpen() as addresses:
        monkeypatch.setenv("TF_CONFIG", build_tf_config({"worker": addresses}, WORKER_1))
        place = "TF_CONFIG makes this process worker-1 of a cluster (worker: 2)"
        assert refused(worker=3) == (
            f"cluster asks for worker: 3, but {place}: leave the members out of cluster, or unset TF_CONFIG to have "
            "them started here"
        )
        assert "cluster.launcher=docker starts members, but TF_CONFIG says" in refused(launcher="docker")
        assert "strategy mirrored uses one process, but the cluster has 2" in refused({"strategy": "mirrored"})
        roles: tuple[dict[str, Any], ...] = ({"worker": 2}, {"worker": 2, "evaluator": 1}, {})
        for same in roles:
            assert "was not there for 0.1 s" in refused(rendezvous_timeout_s=0.1, **same)
        with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
            assert "cannot be had on this machine" in refused()
    monkeypatch.setenv("TF_CONFIG", build_tf_config({"pool": ["h:1", "h:2"]}, Member(role="pool", index=0)))
    assert refused() == "TF_CONFIG names the role 'pool'; there are: chief, worker, ps, evaluator"
    assert not (tmp_path / "model").exists()


class HeldPortsOpen:
    """Two addresses whose ports this process does not hold, so that a server may have them."""

    def __enter__(self) -> list[str]:
        held = HeldPorts.take(2)
        addresses = held.addresses
        held.close()
        return addresses

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


def test_one_training_run_at_a_time_writes_a_folder(small_dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    with only_run_in(output):
        with pytest.raises(InvalidSetting, match=r"another training run writes to .*model now: wait for its end, or"):
            train_model(small_dataset, NET, output, training=TRAINING)
        (output / "kept").touch()
    assert [path.name for path in output.iterdir()] == ["kept"]
    with only_run_in(tmp_path / "nothing"):
        pass
    assert not (tmp_path / "nothing").exists()


class TestChiefWatch:
    """What the evaluator goes by, in the folder that it shares with the chief."""

    @pytest.fixture
    def beat(self, tmp_path: Path) -> Callable[[int], None]:
        """The chief sends a heartbeat."""

        def beat(step: int) -> None:
            HeartbeatFile(folder=tmp_path / CLUSTER_FOLDER, member=Member(role="chief", index=0))("training", step)

        return beat

    def watch(self, output: Path, *, begins_s: float = 60, stalls_s: float = 60) -> ChiefWatch:
        spec = ClusterSpec.from_mapping({"chief": 1, "rendezvous_timeout_s": begins_s, "stall_timeout_s": stalls_s})
        return ChiefWatch(output=output, cluster=spec)

    def test_the_run_of_before_is_not_the_end_of_this_one(self, tmp_path: Path, beat: Callable[[int], None]) -> None:
        model = tmp_path / "training.json"
        model.write_text("{}")
        watch = self.watch(tmp_path)
        assert not watch.is_over()
        model.unlink()
        beat(1)
        assert not watch.is_over()
        model.write_text('{"steps": 2}')
        assert watch.is_over()
        late = self.watch(tmp_path, begins_s=0.01)
        time.sleep(0.02)
        assert late.is_over()

    def test_a_chief_that_never_begins_or_stops_is_told(self, tmp_path: Path, beat: Callable[[int], None]) -> None:
        watch = self.watch(tmp_path, begins_s=0.01, stalls_s=0.01)
        time.sleep(0.02)
        with pytest.raises(TrainingFailed, match=r"chief-0 has written no heartbeat to .*cluster for 0\.01 s: the ev"):
            watch.is_over()
        watch = self.watch(tmp_path, stalls_s=0.01)
        beat(1)
        assert not watch.is_over()
        time.sleep(0.02)
        with pytest.raises(TrainingFailed, match="has written no heartbeat"):
            watch.is_over()

    def test_an_error_of_the_chief_ends_it_but_not_one_of_before(
        self, tmp_path: Path, beat: Callable[[int], None]
    ) -> None:
        write_error(tmp_path / CLUSTER_FOLDER, Member(role="chief", index=0), UserCodeError("wrong"))
        beat(1)
        watch = self.watch(tmp_path)
        assert not watch.is_over()
        beat(2)
        with pytest.raises(UserCodeError, match="wrong"):
            watch.is_over()


def test_vertex_says_where_to_write_when_nobody_else_does(tmp_path: Path) -> None:
    """Variables: https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables."""
    (tmp_path / "bucket").mkdir()
    environ = {
        "AIP_MODEL_DIR": "gs://bucket/job/model/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/job/logs/",
    }
    job = tmp_path / "bucket" / "job"
    found = Folders.find("", None, environ, mount=tmp_path)
    assert found == Folders(output=job / "model", log_dir=job / "logs")
    assert Folders.find("", "here", environ, mount=tmp_path).log_dir == Path("here")
    assert Folders.find("out", None, environ, mount=tmp_path) == Folders(output=Path("out"))
    with pytest.raises(InvalidSetting, match="is gs://bucket/job/model/, but /nowhere/bucket is not there"):
        Folders.find("", None, environ, mount=Path("/nowhere"))
    with pytest.raises(InvalidSetting, match="no folder for the trained model: give OUTPUT, or set AIP_MODEL_DIR"):
        Folders.find("", None, {})
