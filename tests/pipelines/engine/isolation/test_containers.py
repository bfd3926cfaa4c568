"""Steps in real containers: what they are given, how they end, and that none stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kfp import compiler
from tests.pipelines.engine.isolation import container_pipelines

from trainwright_components.cluster.launchers.docker_command import docker
from trainwright_components.home import Home
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.isolation.container_engine import RUN_LABEL
from trainwright_pipelines.engine.leftovers import find_leftovers
from trainwright_pipelines.engine.records import Run, RunSettings, State, Task
from trainwright_pipelines.engine.replay import rerun_step
from trainwright_pipelines.engine.store import Store

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Fifo

pytestmark = pytest.mark.slow

OTHER_USER = 1000
Compiled = Callable[[str], str]
Ended = tuple[Run, dict[str, Task]]


@pytest.fixture
def compiled(base_image: str, other_image: str, tmp_path: Path) -> Compiled:
    """The text of a pipeline, with images that are here."""

    def compiled(name: str) -> str:
        file = tmp_path / f"{name}.yaml"
        compiler.Compiler().compile(getattr(container_pipelines, name), str(file))
        text = file.read_text().replace(f"image: {container_pipelines.OTHER}\n", f"image: {other_image}\n")
        return text.replace(f"image: {container_pipelines.BASE}\n", f"image: {base_image}\n")

    return compiled


@pytest.fixture(autouse=True)
def no_containers_stay(base_image: str, tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, no container of its home is left, nor a volume that its image made for it."""
    before = docker("volume", "ls", "--quiet").split()
    yield
    assert set(docker("volume", "ls", "--quiet").split()) <= set(before)
    assert containers(f"trainwright.home={tmp_path / 'home'}") == []


def containers(label: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label={label}").split()


def execute(spec: str, store: Store, *, isolation: dict[str, str] | None = None, **parameters: Any) -> Ended:
    settings = RunSettings(isolation=isolation or {})
    run = runs.create_run(spec, parameters, store=store, settings=settings)
    ended = runs.execute(run.id, store=store)
    return ended, {task.path: task for task in store.tasks(run.id)}


def test_artifacts_go_from_container_to_process_to_container(compiled: Compiled, store: Store, tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("file")
    given = {"text": "hello", "file": str(tmp_path / "given.txt")}
    text = compiled("handed_on")
    run, tasks = execute(text, store, isolation={"introduce": "container"}, **given)
    assert run.state == State.SUCCEEDED, run.error
    assert tasks["shout"].outputs.parameters["said"] == "HELLO FILE!"
    here = ".".join(map(str, sys.version_info[:3]))
    versions = [tasks[name].outputs.parameters["Output"] for name in ("introduce", "pass-on")]
    assert versions[0].startswith("3.9.")
    assert versions[1] == here
    assert [task.attempts[0].image.startswith("sha256:") for task in tasks.values()] == [True, False, True]
    [out] = tasks["introduce"].outputs.artifacts["out"]
    assert out.metadata["version"] == versions[0]
    log = tasks["introduce"].log.read_bytes()
    assert b"caf\xe9 \x00 bytes\n" in log
    assert b"cannot be written: Read-only file system\n" in log
    told = next(line for line in log.decode(errors="replace").splitlines() if line.startswith("variables: "))
    assert {"COLOUR", "HOME", "TMPDIR"} <= set(eval(told.removeprefix("variables: ")))  # a list of names
    assert not {"TRAINWRIGHT_HOME", "VIRTUAL_ENV"} & set(eval(told.removeprefix("variables: ")))
    owners = {path.stat().st_uid for path in (run.folder / "steps").rglob("*")}
    assert owners == {os.getuid()}

    run, tasks = execute(text, store, isolation={"introduce": "container"}, **given)
    assert all(task.is_cached for task in tasks.values())
    run, tasks = execute(text, store, isolation={"introduce": "process"}, **given)
    assert not tasks["introduce"].is_cached, "a process is not its image"
    assert tasks["shout"].is_cached, "the same image on the same bytes is"
    assert tasks["introduce"].outputs.parameters["Output"] == here


def become_other_user() -> list[str]:
    """A command that goes on as another user, who may ask the engine, and read this Python wherever it is."""
    user, group = f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}"
    groups = f"--groups={Path('/var/run/docker.sock').stat().st_gid}"
    return ["setpriv", user, group, groups, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def test_files_belong_to_the_caller(compiled: Compiled, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user; the files of the other tests belong to this one")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "handed_on.yaml").write_text(compiled("handed_on"))
        (place / "given.txt").write_text("file")
        (place / "home").mkdir()
        for path in (place, *place.iterdir()):
            os.chown(path, OTHER_USER, OTHER_USER)
        command = [
            *become_other_user(),
            sys.executable,
            "-m",
            "trainwright_pipelines.cli.main",
            "run",
            str(place / "handed_on.yaml"),
            "--json",
        ]
        command += ["--set", "text=hello", "--set", f"file={place / 'given.txt'}", "--isolation", "container"]
        command += ["--isolation", "pass-on=process"]
        done = subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], "HOME": folder, "TRAINWRIGHT_HOME": str(place / "home"), "TMPDIR": folder},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        made = list((place / "home" / "runs").rglob("*"))
        assert {each.lstat().st_uid for each in made} == {OTHER_USER}
        assert [each.name for each in made if each.name == "said.txt"]


def test_a_step_over_its_memory_limit_ends_out_of_memory(compiled: Compiled, store: Store) -> None:
    run, tasks = execute(compiled("hungry"), store)
    assert run.state == State.FAILED
    assert tasks["greedy"].error == (
        "out of memory: it needed more than its limit of 64 MiB; give it a higher one: set_memory_limit"
    )
    assert tasks["greedy"].attempts[0].exit_code == -signal.SIGKILL
    text = compiled("hungry").replace("resourceMemoryLimit: 64Mi", "resourceMemoryLimit: 512Mi")
    run, tasks = execute(text, store)
    assert (run.state, tasks["greedy"].log.read_text()) == (State.SUCCEEDED, f"{200 << 20}\n")


def both_ends(fifo: "Fifo") -> dict[str, str]:
    return {"fifo": str(fifo.path), "go": f"{fifo.path}.go"}


def saved_by(task: Task) -> str:
    assert task.folder is not None
    return (task.folder / "parameters" / "out").read_text()


class Waiting:
    """A run in another thread whose step waits in its container."""

    def __init__(self, text: str, store: Store, fifo: "Fifo", *, isolation: str = "") -> None:
        settings = RunSettings(isolation={"": isolation} if isolation else {})
        self.run = runs.create_run(text, both_ends(fifo), store=store, settings=settings)
        self.thread = threading.Thread(target=runs.execute, args=(self.run.id,), kwargs={"store": store})
        self.thread.start()
        fifo.wait()

    def end(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_a_container_that_vanished_fails_the_step(compiled: Compiled, store: Store, fifo: "Fifo") -> None:
    waiting = Waiting(compiled("waiting"), store, fifo)
    [container] = containers(f"{RUN_LABEL}={waiting.run.id}")
    docker("rm", "--force", container)
    waiting.end()
    task = store.task(waiting.run.id, "waits")
    assert task.state == State.FAILED
    assert task.error.startswith("its container was removed while it ran, by somebody or by a clean-up")


def test_a_step_that_is_canceled_can_save(compiled: Compiled, store: Store, fifo: "Fifo") -> None:
    """Also below the shells that KFP's compiler puts around a function, which would not pass the signal on."""
    waiting = Waiting(compiled("evicted"), store, fifo, isolation="container")
    runs.cancel(waiting.run.id, store=store)
    waiting.end()
    task = store.task(waiting.run.id, "train")
    assert task.state == State.CANCELED
    assert task.log.read_text().endswith("\nsaved\n")


def test_a_step_over_its_deadline_can_save_and_is_ended(compiled: Compiled, store: Store, fifo: "Fifo") -> None:
    platform = {"exec-waits": {"activeDeadlineSeconds": "2"}}
    document = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}
    waiting = Waiting(f"{compiled('waiting')}\n---\n{yaml.safe_dump(document)}", store, fifo)
    waiting.end()
    task = store.task(waiting.run.id, "waits")
    assert task.error == "took longer than 2 s and was stopped"
    assert saved_by(task) == "saved"


ENGINE = "import sys; from pathlib import Path; from trainwright_pipelines.engine import runs; "
ENGINE += (
    "from trainwright_pipelines.engine.store import Store; runs.execute(sys.argv[2], store=Store(Path(sys.argv[1])))"
)


def test_a_killed_engine_leaves_no_container_for_ever(compiled: Compiled, store: Store, fifo: "Fifo") -> None:
    run = runs.create_run(compiled("waiting"), both_ends(fifo), store=store)
    with subprocess.Popen([sys.executable, "-c", ENGINE, str(store.home), run.id]) as engine:
        fifo.wait()
        engine.kill()
    [left] = containers(f"{RUN_LABEL}={run.id}")
    [found] = [each for each in find_leftovers(store, Home(root=store.home)) if each.kind == "containers"]
    assert docker("inspect", "--format", "{{.Name}}", left).removeprefix("/") == str(found.path)
    resuming = threading.Thread(target=runs.resume, args=(run.id,), kwargs={"store": store})
    resuming.start()
    fifo.wait()
    [only] = containers(f"{RUN_LABEL}={run.id}")
    assert only != left
    fifo.let_go()
    resuming.join(60)
    ended = store.task(run.id, "waits")
    assert (ended.state, ended.outputs.parameters["out"]) == (State.SUCCEEDED, "done")
    assert [each.error for each in ended.attempts] == ["its process was lost", ""]


def test_what_ends_a_container_is_told(compiled: Compiled, store: Store, base_image: str) -> None:
    run, tasks = execute(compiled("endings"), store, isolation={"": "container"})
    assert run.state == State.FAILED
    absent = tasks["absent-program"].error
    assert absent.startswith(f"exit code 127: a program that it calls is not in its image {base_image}: ")
    pull = tasks["absent-image"].error
    assert pull.startswith("the image 'trainwright-test-absent:1' is not on this machine and cannot be pulled: ")
    assert pull.endswith("or run the step as a process of this machine: --isolation absent-image=process")
    assert tasks["fails"].error == "exit code 3: about to fail"
    assert f"its image {base_image} has no kfp; leave install_kfp_package on" in tasks["without-kfp"].error
    assert tasks["entry-point"].state == State.SUCCEEDED


def test_what_lies_inside_a_container_is_copied_out_of_it(compiled: Compiled, store: Store) -> None:
    run, tasks = execute(compiled("kept_inside"), store, isolation={"": "container"})
    assert run.state == State.SUCCEEDED, run.error
    assert tasks["read-both"].outputs.parameters["said"] == "weightsweights"
    assert not (run.folder / "steps" / "keep-inside" / "brought").exists()
    assert not Path("/var/tmp/made").exists()


def test_volumes_are_real_mounts_and_secrets_are_masked(compiled: Compiled, store: Store) -> None:
    (store.home / "secrets.yaml").write_text(yaml.safe_dump({"secrets": {"login": {"token": "s3cret-token"}}}))
    for count in (1, 2):
        run, tasks = execute(compiled("volumes"), store)
        assert run.state == State.SUCCEEDED, run.error
        assert tasks["use-volumes"].outputs.parameters["said"] == f"s3cret-token {count} s3cret-token"
    assert tasks["use-volumes"].log.read_text() == "***\n"
    assert (store.home / "volumes" / "shared" / "log").read_text() == "more\nmore\n"


def test_one_step_again_runs_in_its_container(
    compiled: Compiled, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    run, _ = execute(compiled("hungry").replace("resourceMemoryLimit: 64Mi", "resourceMemoryLimit: 512Mi"), store)
    replay = rerun_step(run.id, "greedy", store=store)
    assert (replay.exit_code, replay.error) == (0, "")
    assert capfd.readouterr().out == f"{200 << 20}\n"
