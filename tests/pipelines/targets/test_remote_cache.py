"""What a remote target may take from its cache: nothing that was read from an address, nothing at all if so asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from trainwright_components.images import CPU_IMAGE
from trainwright_components.reuse import NEVER_REUSED
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import read_compiled, shipped_pipelines
from trainwright_pipelines.targets.kubeflow.target import Kubeflow
from trainwright_pipelines.targets.remote_cache import without_cache, without_stale_cache
from trainwright_pipelines.targets.vertex.target import Vertex

IMAGES = {CPU_IMAGE: "registry.example/t:1"}
TRAINING = {"prepare-data", "check-evaluation", "train-distributed", "evaluate", "export-savedmodel", "quantize-tflite"}


def cached(spec: Mapping[str, Any]) -> set[str]:
    """The tasks, at any depth, whose results may be taken from the cache."""
    return {
        name
        for component in (spec["root"], *spec["components"].values())
        for name, task in component.get("dag", {}).get("tasks", {}).items()
        if task.get("cachingOptions", {}).get("enableCache") and "dag" not in component_of(spec, task)
    }


def component_of(spec: Mapping[str, Any], task: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec["components"][task["componentRef"]["name"]]
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    return load_pipeline(shipped_pipelines()["train_and_deploy"], tmp_path_factory.mktemp("compiled"))


@pytest.mark.parametrize(
    ("values", "uncached"),
    [
        ({}, set()),
        ({"source": "gs://b/data.csv"}, {"prepare-data"}),
        ({"source": "/mnt/claim/data.csv"}, {"prepare-data"}),
        ({"data": {"test_source": "gs://b/test.csv"}}, {"prepare-data"}),
        ({"serving": {"base_path": "gs://b/models"}}, {"evaluate"}),
        ({"module": "gs://b/model.py"}, {"importer", "check-evaluation", "train-distributed"}),
        ({"params": {"layers": [{"pretrained": "gs://b/w"}]}}, {"check-evaluation", "train-distributed"}),
    ],
)
def test_steps_that_read_from_an_address_are_not_cached(
    shipped: CompiledPipeline, values: dict[str, Any], uncached: set[str]
) -> None:
    given = {"module": "gs://root/modules/0123456789abcdef/digits.py", **values}
    changed = without_stale_cache(shipped, given, lasting=["gs://root/modules/0123456789abcdef/digits.py"])
    assert cached(changed.spec) == (TRAINING | {"importer"}) - uncached
    assert cached(shipped.spec) == TRAINING | {"importer"}, "the pipeline itself is left alone"


def test_without_values_parameters_count_by_their_names(shipped: CompiledPipeline) -> None:
    assert cached(without_stale_cache(shipped).spec) == {"export-savedmodel", "quantize-tflite"}


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def count(text: str = "", data: dsl.Input[dsl.Artifact] = None) -> str:
    return text


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def total(n: int) -> int:
    return n


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def finish() -> None:
    pass


@dsl.pipeline
def fetch(uri: str) -> dsl.Artifact:
    return dsl.importer(artifact_uri=uri, artifact_class=dsl.Artifact).output


@dsl.pipeline
def use_below(text: str, data: dsl.Input[dsl.Artifact]) -> None:
    count(text=text, data=data).set_display_name("below")


@dsl.pipeline(name="deep")
def deep(text: str = "words", bucket: str = "b", n: int = 1) -> None:
    with dsl.ExitHandler(finish()):
        count(text=text)
        with dsl.If(n == 1):
            total(n=n)
        with dsl.ParallelFor(["gs://b/1", "gs://b/2"]) as address:
            count(text=address)
        with dsl.ParallelFor(["one", "two"]) as word:
            count(text=word)
    count(text=f"gs://{bucket}/x")
    fetched = fetch(uri="gs://b/a")
    count(text="words", data=fetched.output)
    use_below(text="words", data=fetched.output)


@pytest.fixture(scope="module")
def deep_pipeline(tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    file = tmp_path_factory.mktemp("deep") / "deep.yaml"
    compiler.Compiler().compile(deep, str(file))
    return read_compiled(file)


def test_addresses_are_followed_into_loops_and_through_sub_pipelines(deep_pipeline: CompiledPipeline) -> None:
    spec = without_stale_cache(deep_pipeline, {}).spec
    tasks = {
        (around, name): bool(task["cachingOptions"])
        for around, component in {"root": spec["root"], **spec["components"]}.items()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
        if "dag" not in component_of(spec, task)
    }
    assert {place for place, is_cached in tasks.items() if is_cached} == {
        ("root", "finish"),
        ("comp-exit-handler-1", "count"),
        ("comp-condition-2", "total"),
        ("comp-for-loop-6", "count-3"),
    }
    assert len(tasks) == 9


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def read(data_uri: str = "", folder: str = "", n: int = 0) -> str:
    return data_uri


@dsl.pipeline(name="found")
def found(x: str = "gs://b/x.csv", word: str = "words") -> None:
    with dsl.ParallelFor([{"u": "gs://a"}, {"u": "word"}]) as item:
        count(text=item.u)
    with dsl.ParallelFor([{"u": "one"}]) as item:
        total(n=1).after(count(text=item.u))
    made = count(text=word)
    read(data_uri=made.output)
    read(folder=made.output)
    total(n=2)
    count(text=x)


@pytest.mark.parametrize("values", [None, {}, {"word": "others"}])
def test_addresses_are_found_in_items_outputs_and_defaults(values: dict[str, Any] | None, tmp_path: Path) -> None:
    compiler.Compiler().compile(found, str(tmp_path / "found.yaml"))
    changed = without_stale_cache(read_compiled(tmp_path / "found.yaml"), values)
    assert cached(changed.spec) == {"count-2", "count-3", "total", "total-2"}


def test_a_default_that_is_replaced_does_not_count(tmp_path: Path) -> None:
    compiler.Compiler().compile(found, str(tmp_path / "found.yaml"))
    assert "count-4" in cached(without_stale_cache(read_compiled(tmp_path / "found.yaml"), {"x": "word"}).spec)


def test_a_cache_key_of_the_authors_own_stays(tmp_path: Path) -> None:
    @dsl.pipeline(name="keyed")
    def keyed() -> None:
        count(text="gs://b/2026-01-01.csv").set_caching_options(True, cache_key="2026-01-01")

    compiler.Compiler().compile(keyed, str(tmp_path / "keyed.yaml"))
    changed = without_stale_cache(read_compiled(tmp_path / "keyed.yaml"), {})
    assert cached(changed.spec) == {"count"}


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def publish() -> None:
    pass


publish.component_spec.implementation.container.env = NEVER_REUSED


@pytest.mark.parametrize("values", [None, {}])
def test_what_a_component_never_reuses_is_not_cached_whatever_the_author_said(
    values: dict[str, Any] | None, tmp_path: Path
) -> None:
    @dsl.pipeline(name="publishing")
    def publishing() -> None:
        publish()
        publish().set_caching_options(True, cache_key="today")
        with dsl.ExitHandler(publish()):
            total(n=1)

    compiler.Compiler().compile(publishing, str(tmp_path / "publishing.yaml"))
    compiled = read_compiled(tmp_path / "publishing.yaml")
    assert cached(compiled.spec) == {"publish", "publish-2", "publish-3", "total"}
    assert cached(without_stale_cache(compiled, values).spec) == {"total"}


def test_no_cache_reaches_every_depth(deep_pipeline: CompiledPipeline) -> None:
    assert cached(without_cache(deep_pipeline).spec) == set()


@pytest.mark.parametrize("use_cache", [True, False])
def test_what_is_sent_to_kubeflow_and_vertex_is_cached_no_further(
    deep_pipeline: CompiledPipeline, kubeflow: Any, vertex: Any, use_cache: bool
) -> None:
    Kubeflow(host=kubeflow.address, images=IMAGES).submit(deep_pipeline, {}, use_cache=use_cache)
    made = Vertex(endpoint=vertex.address, project="p", pipeline_root="gs://b/r", images=IMAGES)
    made.submit(deep_pipeline, {}, use_cache=use_cache)
    [run] = kubeflow.of("POST", "/runs$")
    [job] = vertex.requests
    expected = {"finish", "count", "total", "count-3"} if use_cache else set()
    assert cached(run.json["pipeline_spec"]) == cached(job.json["pipelineSpec"]) == expected
