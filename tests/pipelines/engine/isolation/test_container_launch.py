"""What the container of a step is created with; nothing starts."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import RunFailed
from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.execution import now
from trainwright_pipelines.engine.isolation.container import ContainerStep
from trainwright_pipelines.engine.isolation.container_engine import ContainerEngine, Image
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch, Mount, plan_container, plan_mounts
from trainwright_pipelines.engine.isolation.protocol import StepEnd
from trainwright_pipelines.engine.machine import Machine
from trainwright_pipelines.engine.platform_settings import PlatformSettings
from trainwright_pipelines.engine.records import Artifact, Run, State, Task, TaskKind, Values
from trainwright_pipelines.engine.volumes import NO_VOLUMES, Volumes
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.resources import Resources

ENGINE = ContainerEngine(program="docker", version="Docker 28.0", machine=Machine(cores=2, memory_bytes=4 << 30))
IMAGE = Image(name="alpine", id="sha256:abc")


def plan(tmp_path: Path, container: dict[str, Any], *, image: Image = IMAGE, **settings: Any) -> ContainerLaunch:
    run = Run(
        id="r1", name="r", pipeline="p", state=State.RUNNING, parameters={}, folder=tmp_path / "run", created=now()
    )
    task = Task(
        id="t", run_id="r1", name="cook", path="for-loop-1/0/cook", parent_path="", kind=TaskKind.CONTAINER,
        component="comp-cook", display_name="cook",
    )  # fmt: skip
    given = {"inputs": {"parameterValues": {"text": "a b"}, "artifacts": {}}, "outputs": {"parameters": {}}}
    return plan_container(
        container,
        Placeholders(given, {}),
        StepFolder(tmp_path / "step"),
        image=image,
        run=run,
        task=task,
        inputs=Values(),
        settings=PlatformSettings(**settings),
        home=tmp_path,
        volume_folders={},
    )


def pairs(arguments: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(arguments) if name == flag]


def test_command_and_args_stand_for_entry_point_and_command_as_in_a_pod(tmp_path: Path) -> None:
    text = "{{$.inputs.parameters['text']}}"
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(NO)"}]
    launch = plan(tmp_path, {"command": ["sh", "-c"], "args": [text, "$(B)"], "env": env})
    created = launch.create_arguments(ENGINE)
    assert created[-4:] == ["sha256:abc", "-c", "a b", "1$(NO)"]
    assert pairs(created, "--entrypoint") == ["sh"]
    assert {"A=1", "B=1$(NO)"} <= set(pairs(created, "--env"))
    only_args = plan(tmp_path, {"args": ["--help"]}).create_arguments(ENGINE)
    assert (only_args[-2:], pairs(only_args, "--entrypoint")) == (["sha256:abc", "--help"], [])


def test_neither_secrets_nor_the_callers_environment_are_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_THE_CALLER", "x")
    launch = plan(tmp_path, {"command": ["true"]}, given={"TOKEN": "s3cret", "PATH": "/opt/bin"}, fields={"POD": "p"})
    created = launch.create_arguments(ENGINE)
    assert not any("s3cret" in each or "FROM_THE_CALLER" in each for each in created)
    assert launch.secret_env == {"TOKEN": "s3cret"}  # what the client itself would read goes the other way
    assert {"TOKEN", "PATH=/opt/bin", "POD=p"} <= set(pairs(created, "--env"))


def test_a_secret_that_the_engines_command_would_heed_is_not_on_its_command_line_either(tmp_path: Path) -> None:
    given = {"DOCKER_PASSWORD": "s3cret", "DOCKER_HOST": "tcp://x"}
    launch = plan(tmp_path, {"command": ["true"]}, given=given, secret_variables=("DOCKER_PASSWORD",))
    created = launch.create_arguments(ENGINE)
    assert not any("s3cret" in each for each in created)
    assert "DOCKER_HOST=tcp://x" in pairs(created, "--env")
    assert pairs(created, "--env-file") == ["/dev/stdin"]
    assert (launch.client_env, launch.secret_env) == ({"DOCKER_PASSWORD": "s3cret"}, {})
    with pytest.raises(RunFailed, match="variable DOCKER_KEY has several lines, and with that name"):
        plan(tmp_path, {}, given={"DOCKER_KEY": "a\nb"}, secret_variables=("DOCKER_KEY",))


def test_limits_leave_no_swap_and_the_container_is_found_by_its_run(tmp_path: Path) -> None:
    resources = {"resourceCpuLimit": "500m", "resourceMemoryLimit": "64Mi"}
    launch = plan(tmp_path, {"command": ["true"], "resources": resources})
    created = replace(launch, gpus=("0", "3")).create_arguments(ENGINE)
    limits = {flag: pairs(created, flag) for flag in ("--cpus", "--memory", "--memory-swap", "--gpus")}
    assert limits == {
        "--cpus": ["0.5"],
        "--memory": ["67108864"],
        "--memory-swap": ["67108864"],
        "--gpus": ['"device=0,3"'],
    }
    labels = pairs(created, "--label")
    assert {"trainwright.run=r1", "trainwright.step=for-loop-1/0/cook"} <= set(labels)
    assert any(label.startswith("trainwright.owner=") for label in labels)


def test_the_working_folder_is_that_of_the_image_where_it_names_one(tmp_path: Path) -> None:
    for folder, used in (
        ("", [str(tmp_path / "step" / "work")]),
        ("/", [str(tmp_path / "step" / "work")]),
        ("/app", []),
    ):
        created = plan(tmp_path, {"command": ["x"]}, image=replace(IMAGE, folder=folder)).create_arguments(ENGINE)
        assert pairs(created, "--workdir") == used


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        (replace(ENGINE, is_rootless=True), ["--user", "0:0"]),
        (
            replace(ENGINE, program="podman", is_podman=True, is_rootless=True),
            ["--userns", "keep-id"],
        ),
        (replace(ENGINE, program="podman", is_podman=True), ["--security-opt", "label=disable", "--user"]),
    ],
)
def test_files_belong_to_the_caller_with_each_kind_of_engine(
    tmp_path: Path, engine: ContainerEngine, options: list[str]
) -> None:
    created = plan(tmp_path, {"command": ["x"]}).create_arguments(engine)
    start = created.index(options[0])
    assert created[start : start + len(options)] == options


def test_only_what_a_step_takes_in_is_mounted_and_only_to_read(tmp_path: Path) -> None:
    for name in ("data.csv", "b,c.csv", "dir/inner.csv", "step/own.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "claim").mkdir()
    artifact = Artifact(id="a", name="d", type="system.Dataset", uri=str(tmp_path / "dir"))
    metrics = Artifact(id="m", name="m", type="system.Metrics", uri=str(tmp_path / "absent"))
    remote = Artifact(id="g", name="g", type="system.Dataset", uri="gs://bucket/x")
    parameters = {
        "one": str(tmp_path / "data.csv"),
        "nested": {"rows": [f"file://{tmp_path}/b,c.csv", str(tmp_path / "dir" / "inner.csv")]},
        "pattern": f"{tmp_path}/dir/*.csv",
        "shell": "/bin/sh",
        "root": "/",
        "temporary": "/tmp",
        "own": str(tmp_path / "step" / "own.txt"),
        "mounted": "/mnt/claim/x",
        "number": 3,
    }
    inputs = Values(parameters=parameters, artifacts={"d": (artifact, metrics, remote)})
    volumes = Volumes(lasting={"/mnt/claim": "claim"}, files={"/secret": {}})
    folders = {"/mnt/claim": tmp_path / "claim", "/secret": tmp_path / "claim"}
    found = plan_mounts(
        StepFolder(tmp_path / "step"), tmp_path / "workspace", inputs, volumes=volumes, volume_folders=folders
    )
    assert {mount.target: mount.is_writable for mount in found} == {
        str(tmp_path / "dir"): False,
        str(tmp_path / "data.csv"): False,
        str(tmp_path / "b,c.csv"): False,
        str(tmp_path / "step"): True,
        str(tmp_path / "workspace"): True,
        "/mnt/claim": True,
        "/secret": False,
    }
    [line] = [str(mount) for mount in found if mount.target.endswith("b,c.csv")]
    assert next(csv.reader([line])) == [
        "type=bind", f"source={tmp_path}/b,c.csv", f"target={tmp_path}/b,c.csv", "readonly"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ({"Status": "exited", "ExitCode": 0, "OOMKilled": True}, StepEnd(code=0, image="alpine")),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            StepEnd(
                code=-9,
                reason="out of memory: it needed more than its limit of 64 MiB; give it a higher one: set_memory_limit",
            ),
        ),
        ({"Status": "exited", "ExitCode": 3, "OOMKilled": False}, StepEnd(code=3, image="alpine")),
        (
            {"Status": "created", "ExitCode": 0, "Error": "no such device"},
            StepEnd(code=None, reason="its container did not start: no such device"),
        ),
    ],
)
def test_how_a_container_ended_is_what_the_engine_says(state: dict[str, Any], end: StepEnd) -> None:
    resources = Resources(memory_limit_bytes=64 << 20)
    launch = ContainerLaunch(name="x", image=IMAGE, command=[], args=[], env={}, resources=resources)
    step = ContainerStep(engine=ENGINE, launch=launch, log=Path(), timeout_s=None)
    assert step._end(state) == end


def test_a_mount_that_can_be_written_says_nothing_more() -> None:
    assert str(Mount(source=Path("/a b"), target="/x", is_writable=True)) == "type=bind,source=/a b,target=/x"
    assert plan_mounts(StepFolder(Path("/r/s")), Path("/r/w"), Values(), volumes=NO_VOLUMES, volume_folders={}) == [
        Mount(source=Path(each), target=each, is_writable=True) for each in ("/r/s", "/r/w")
    ]
