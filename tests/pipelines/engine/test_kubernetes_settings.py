"""A pipeline that imports kfp.kubernetes compiles with what the product installs, and runs here as it is."""

from pathlib import Path

import pytest
import yaml

from trainwright import run
from trainwright_components.home import Home
from trainwright_pipelines.engine.records import Event
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import find_pipeline

PIPELINE = """
from kfp import dsl, kubernetes


@dsl.container_component
def keep(text: str):
    return dsl.ContainerSpec(
        image="registry.example/busybox:1", command=["sh", "-ec", 'echo "$0 $TOKEN" > /data/kept.txt'], args=[text]
    )


@dsl.container_component
def read(found: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="registry.example/busybox:1",
        command=["sh", "-ec", 'mkdir -p "$(dirname "$0")"; cat /data/kept.txt > "$0"'],
        args=[found],
    )


@dsl.pipeline(name="kept")
def kept(text: str = "hey") -> str:
    kept = keep(text=text)
    kubernetes.use_secret_as_env(kept, secret_name="login", secret_key_to_env={"token": "TOKEN"})
    kubernetes.mount_pvc(kept, pvc_name="shared", mount_path="/data")
    found = read().after(kept)
    kubernetes.mount_pvc(found, pvc_name="shared", mount_path="/data")
    return found.outputs["found"]
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    (tmp_path / "kept.py").write_text(PIPELINE)
    return str(tmp_path / "kept.py")


def test_a_claim_and_a_secret_reach_the_platform_document(pipeline: str, tmp_path: Path) -> None:
    compiled = load_pipeline(find_pipeline(pipeline), tmp_path / "compiled")
    executors = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    [secret] = executors["exec-keep"]["secretAsEnv"]
    assert (secret["secretName"], secret["keyToEnv"]) == ("login", [{"envVar": "TOKEN", "secretKey": "token"}])
    assert {each["pvcMount"][0]["mountPath"] for each in executors.values()} == {"/data"}


def test_a_secret_that_is_missing_is_told_before_the_first_step(pipeline: str, tmp_path: Path) -> None:
    events: list[Event] = []
    ended = run(pipeline, {"text": "hello"}, home=tmp_path / "home", isolation="process", listener=events.append)
    assert not ended.is_successful
    told = [(each.is_warning, "keep needs the secret 'login' with the key 'token'" in each.message) for each in events]
    assert told[0] == (True, True)
    assert not ended.warnings, "which a resumed run may not lack"


def test_a_claim_and_a_secret_work_on_this_machine(pipeline: str, tmp_path: Path) -> None:
    home = Home(root=tmp_path / "home")
    home.root.mkdir()
    (home.root / "secrets.yaml").write_text(yaml.safe_dump({"secrets": {"login": {"token": "s3cret"}}}))
    ended = run(pipeline, {"text": "hello"}, home=home.root, isolation="process")
    assert ended.is_successful, [task.error for task in ended.tasks]
    assert ended.task("read").outputs.parameters["found"].strip() == "hello s3cret"
    assert (home.root / "volumes" / "shared" / "kept.txt").read_text() == "hello s3cret\n"
