"""Compiled pipelines with what targets differ about, and doubles of the services that they are sent to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import compiler, dsl
from tests.pipelines.targets import doubles
from tests.pipelines.targets.published import KfpApi, kfp_api_file

from trainwright_components.storage import copies
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.finding import read_compiled


@dsl.component(base_image="trainwright/cpu", install_kfp_package=False)
def use(module: dsl.Input[dsl.Artifact], n: int = 1) -> int:
    return n


@dsl.component(base_image="docker.io/library/python:3.12", install_kfp_package=False)
def note(text: str) -> None:
    pass


@dsl.pipeline(name="inner")
def inner(location: str) -> None:
    imported = dsl.importer(artifact_uri=location, artifact_class=dsl.Artifact)
    use(module=imported.output).set_cpu_request("1").set_memory_request("2G").set_cpu_limit("4")


@dsl.pipeline(name="sample")
def sample(module: str, second: str = "b.py", n: int = 1, settings: dict = {}) -> None:  # type: ignore[type-arg]  # noqa: B006  KFP reads the signature
    imported = dsl.importer(artifact_uri=module, artifact_class=dsl.Artifact)
    used = use(module=imported.output, n=n).set_cpu_request("2").set_memory_request("4G")
    with dsl.If(used.output == 1):
        inner(location=second)
    note(text="done")


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    file = tmp_path_factory.mktemp("pipeline") / "sample.yaml"
    compiler.Compiler().compile(sample, str(file))
    return read_compiled(file)


@pytest.fixture
def with_platform(pipeline: CompiledPipeline) -> CompiledPipeline:
    """The same with a platform document, as kfp-kubernetes writes it."""
    executors = {"exec-use": {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "K"}]}]}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    return CompiledPipeline(name=pipeline.name, spec=pipeline.spec, platform=platform)


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.py"
    file.write_text("def build_model(context): ...\n")
    return file


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[doubles.FakeStorage]:
    with doubles.FakeStorage().serving() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        monkeypatch.setattr(copies, "_made", {})  # no client of another test
        yield server


@pytest.fixture
def kubeflow() -> Iterator[doubles.FakeKubeflow]:
    file = kfp_api_file()
    api = None if file is None else KfpApi(file)
    with doubles.FakeKubeflow(api=api).serving() as server:
        yield server
    assert server.violations == []


@pytest.fixture
def vertex() -> Iterator[doubles.FakeVertex]:
    with doubles.FakeVertex().serving() as server:
        yield server
    assert server.violations == []


@pytest.fixture
def closed_address() -> str:
    """An address that nobody listens on."""
    with doubles.FakeKubeflow().serving() as server:
        return server.address


@dsl.pipeline(name="named-below")
def named_below(location: str) -> None:
    imported = dsl.importer(artifact_uri=location, artifact_class=dsl.Artifact)
    imported.set_display_name("Below")
    use(module=imported.output)


@dsl.pipeline(name="named")
def named(module: str, places: list = ["gs://b/a", "gs://b/b"], n: int = 1) -> None:  # type: ignore[type-arg]  # noqa: B006  KFP reads the signature
    first = dsl.importer(artifact_uri=module, artifact_class=dsl.Artifact)
    use(module=first.output).set_display_name("Use it")
    second = dsl.importer(artifact_uri="gs://b/c", artifact_class=dsl.Model)
    second.set_display_name("The model")
    with dsl.ExitHandler(note(text="end")):
        with dsl.If(n == 1, name="one"):
            third = dsl.importer(artifact_uri=module, artifact_class=dsl.Artifact)
            third.set_display_name("In a condition")
            use(module=third.output)
        with dsl.ParallelFor(places) as place:
            fourth = dsl.importer(artifact_uri=place, artifact_class=dsl.Artifact)
            fourth.set_display_name("In a loop")
            use(module=fourth.output)
    named_below(location=module)


@pytest.fixture(scope="session")
def with_named_importers(tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    file = tmp_path_factory.mktemp("pipeline") / "named.yaml"
    compiler.Compiler().compile(named, str(file))
    return read_compiled(file)
