"""What a machine cannot run is refused before anything starts, with the figures and the way out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.isolation.admission import check_isolation
from trainwright_pipelines.engine.isolation.choices import planned_steps
from trainwright_pipelines.engine.isolation.container_engine import ContainerEngine, Images, find_engine, read_engine
from trainwright_pipelines.engine.machine import Machine
from trainwright_pipelines.engine.records import RunSettings, State, Task, TaskKind
from trainwright_pipelines.engine.resuming import unfinished
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.ir.parsing import parse_pipeline

DOCKER = {"ServerVersion": "28.0", "NCPU": 2, "MemTotal": 4 << 30, "SecurityOptions": ["name=seccomp"]}
PODMAN = {"host": {"cpus": 4, "memTotal": 8 << 30, "security": {"rootless": True}}, "version": {"Version": "5.0"}}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is on the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str, says: str, code: int = 0) -> None:
    """A program that says one thing whatever it is asked."""
    (folder / name).write_text(f"#!/bin/sh\nprintf '%s' '{says}'\nexit {code}\n")
    (folder / name).chmod(0o755)


def spec(specs: Path, **resources: object) -> str:
    document = yaml.safe_load((specs / "containers.yaml").read_text())
    document["deploymentSpec"]["executors"]["exec-shell"]["container"]["resources"] = resources
    return yaml.safe_dump(document)


def test_without_an_engine_the_run_is_refused_before_it_is_recorded(specs: Path, store: Store, programs: Path) -> None:
    with pytest.raises(InvalidSetting) as refused:
        runs.create_run(spec(specs), {}, store=store)
    assert str(refused.value) == (
        "arguments has its code in its image alpine, like 2 more, and no container engine answers: there is neither a "
        "docker nor a podman command. Start Docker or Podman, or run it as a process of this machine: "
        "--isolation arguments=process, or for all steps --isolation process"
    )
    assert store.runs() == []
    assert not list((store.home / "runs").glob("*"))
    runs.create_run(spec(specs), {}, store=store, settings=RunSettings(isolation={"": "process"}))
    runs.create_run((specs / "chain.yaml").read_text(), {}, store=store)
    settings = RunSettings(isolation={"add": "container"})
    with pytest.raises(InvalidSetting, match="is to run in its image"):
        runs.create_run((specs / "chain.yaml").read_text(), {}, store=store, settings=settings)


def test_a_run_goes_on_only_where_an_engine_answers_for_what_is_left(specs: Path, store: Store, programs: Path) -> None:
    put(programs, "docker", json.dumps(DOCKER))
    run = runs.create_run(spec(specs), {}, store=store)
    steps = planned_steps(parse_pipeline(spec(specs)))
    tasks = {step.path: planned(run.id, step.path) for step in steps}
    store.save_tasks([*tasks.values()])
    put(programs, "docker", "Cannot connect to the Docker daemon", 1)
    for name, task in tasks.items():
        before = store.run(run.id), store.tasks(run.id)
        with pytest.raises(InvalidSetting) as refused:
            runs.resume(run.id, store=store)
        assert str(refused.value).startswith(f"{name} has its code in its image alpine")
        assert f"Start Docker or Podman, then go on: trainwright runs resume {run.id}. A new" in str(refused.value)
        assert (store.run(run.id), store.tasks(run.id)) == before
        store.save_task(replace(task, state=State.SUCCEEDED))
    assert runs.resume(run.id, store=store).state != State.PENDING


def test_what_is_left_of_loops_and_conditions_is_known() -> None:
    def left(path: str, **told: State | str) -> bool:
        """Whether it is, after tasks in these states, or skipped for such reasons."""
        tasks = {}
        for name, state in told.items():
            at = name.replace("_", "/")
            kind = TaskKind.LOOP if at in {"l", "o"} else TaskKind.ITERATION if at in {"l/0", "l/1"} else TaskKind.DAG
            found = planned("r", at, kind=kind)
            if isinstance(state, State):
                tasks[at] = replace(found, state=state)
            else:
                tasks[at] = replace(found, state=State.SKIPPED, error=state)
        return unfinished(tasks)(path)

    done, failed, waits = State.SUCCEEDED, State.FAILED, State.PENDING
    assert left("a")
    assert not left("c/a", c=done)
    assert not left("c/a", c="its condition is false: 'x' == 'y'")
    assert left("c/a", c="step b, which it needs, failed")
    assert not left("c/a", c=failed, c_a=done)
    assert left("l/a", l=failed)
    assert left("l/a", l=failed, l_0=done, l_1=waits)
    assert left("l/a", l=failed, l_0=done, l_1=failed, l_1_a=failed)
    assert not left("l/a", l=failed, l_0=done, l_1=failed, l_1_a=done, l_1_b=failed)
    assert not left("o", o=failed, o_0=done)
    assert left("o", o=failed, o_0=done, o_1=failed)


def planned(run: str, path: str, *, kind: TaskKind = TaskKind.CONTAINER) -> Task:
    parent, _, name = path.rpartition("/")
    return Task(
        id=f"{run}{path}", run_id=run, name=name, path=path, parent_path=parent, kind=kind, component=f"comp-{name}",
        display_name=name,
    )  # fmt: skip


def test_the_first_engine_that_answers_is_taken(programs: Path) -> None:
    put(programs, "docker", "Cannot connect to the Docker daemon", 1)
    with pytest.raises(InvalidSetting, match="docker info --format: exit code 1"):
        find_engine()
    put(programs, "podman", json.dumps(PODMAN))
    assert find_engine().program == "podman"
    put(programs, "docker", json.dumps(DOCKER))
    assert find_engine() == ContainerEngine(
        program="docker", version="Docker 28.0", machine=Machine(cores=2, memory_bytes=4 << 30)
    )


def test_what_an_engine_says_of_itself_is_read() -> None:
    podman = read_engine("docker", PODMAN)  # a name for it, as distributions install it
    assert (podman.is_podman, podman.is_rootless, podman.machine.cores, podman.version) == (True, True, 4, "Podman 5.0")
    assert read_engine("docker", DOCKER | {"SecurityOptions": ["name=rootless"]}).is_rootless
    with pytest.raises(InvalidSetting, match="Cannot connect"):  # the client answers without a daemon, with exit code 0
        read_engine("docker", {"ServerVersion": "", "ServerErrors": ["Cannot connect to the daemon"]})


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            {"resourceCpuLimit": "2.5"},
            "shell cannot run in a container: it asks for 2.5 cores, and this machine has 2 cores. Ask",
        ),
        ({"cpuRequest": 3.0}, "3 cores"),
        ({"resourceMemoryRequest": "5Gi"}, "5 GiB of memory, and this machine has 4 GiB"),
        (
            {"accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"}},
            "2 nvidia.com/gpu, and this machine has",
        ),
    ],
)
def test_more_than_the_machine_has_is_refused_with_the_figures(
    specs: Path, store: Store, programs: Path, resources: dict[str, object], message: str
) -> None:
    put(programs, "docker", json.dumps(DOCKER))
    with pytest.raises(InvalidSetting) as refused:
        runs.create_run(spec(specs, **resources), {}, store=store)
    assert message in str(refused.value)
    assert "--isolation shell=process" in str(refused.value)
    fits = spec(specs, resourceCpuLimit="2", resourceMemoryLimit="4Gi")
    assert runs.create_run(fits, {}, store=store).isolation == {}


def test_what_a_component_only_hands_on_is_not_held_against_the_machine(
    specs: Path, store: Store, programs: Path
) -> None:
    put(programs, "docker", json.dumps(DOCKER))
    document = yaml.safe_load(spec(specs, resourceCpuLimit="64"))
    handing_on = document["components"]["comp-shell"]
    handing_on["taskConfigPassthroughs"] = [{"field": "RESOURCES"}]
    assert runs.create_run(yaml.safe_dump(document), {}, store=store).isolation == {}
    handing_on["taskConfigPassthroughs"] = [{"field": "RESOURCES", "applyToTask": True}]
    with pytest.raises(InvalidSetting, match="asks for 64 cores"):
        runs.create_run(yaml.safe_dump(document), {}, store=store)


def test_an_image_of_ours_must_be_resolved_and_a_server_must_stay(programs: Path) -> None:
    put(programs, "docker", json.dumps(DOCKER))
    pipeline = parse_pipeline((Path(__file__).parents[2] / "golden" / "train_and_deploy.yaml").read_text())
    with pytest.raises(InvalidSetting, match=r"'trainwright/cpu' of .* is a logical .*--option images=cpu=NAME:TAG"):
        check_isolation(pipeline, {"": "container"}, {})
    check_isolation(pipeline, {"": "container"}, {"trainwright/cpu": "mine:1"})
    deploy = next(path for path in (step.path for step in planned_steps(pipeline)) if path.endswith("deploy-serving"))
    with pytest.raises(InvalidSetting, match="starts a server that must outlive it"):
        check_isolation(pipeline, {deploy: "container"}, {"trainwright/cpu": "mine:1"})


@pytest.mark.parametrize(
    ("policy", "is_here", "calls"),
    [
        ("", True, ["image inspect"]),
        ("IfNotPresent", False, ["image inspect", "pull --quiet"]),
        ("Always", True, ["pull --quiet"]),
        ("Never", False, ["image inspect"]),
    ],
)
def test_an_image_is_pulled_as_the_policy_of_the_step_says(
    programs: Path, policy: str, is_here: bool, calls: list[str]
) -> None:
    """An engine that has the image or not, and pulls nothing: what it is asked counts."""
    found = f"echo '{json.dumps([{'Id': 'sha256:1', 'Config': {}}])}'" if is_here else "echo No such image >&2; exit 1"
    script = (
        f'#!/bin/sh\necho "$1 $2" >> {programs}/calls\nif [ "$1" = pull ]; then echo denied >&2; exit 1; fi\n{found}\n'
    )
    (programs / "docker").write_text(script)
    (programs / "docker").chmod(0o755)
    machine = Machine(cores=1, memory_bytes=1, gpus=())
    images = Images(engine=ContainerEngine(program="docker", version="Docker 1", machine=machine))
    if is_here and policy != "Always":
        assert images.get("x", print, step="s", pull_policy=policy).id == "sha256:1"
    else:
        with pytest.raises(RunFailed, match="the pull policy of s is Never" if policy == "Never" else "denied"):
            images.get("x", print, step="s", pull_policy=policy)
    assert (programs / "calls").read_text().splitlines() == calls
