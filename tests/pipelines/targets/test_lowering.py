"""One spec, lowered for each target: images, resources, documents, refusals."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from kfp import compiler, components, dsl

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_components.images import CPU_IMAGE
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import read_compiled, shipped_pipelines
from trainwright_pipelines.requests.uploads import imported_parameters
from trainwright_pipelines.targets.kubeflow.target import Kubeflow
from trainwright_pipelines.targets.lowering import (
    lower_for_kubeflow,
    lower_for_vertex,
    parse_images,
    refuse_local_paths,
    refuse_rounded_numbers,
    refuse_unresolved_images,
    to_yaml,
    unresolved_images,
)
from trainwright_pipelines.targets.vertex.target import Vertex

IMAGES = {CPU_IMAGE: "registry.example/team/trainwright:1"}


def containers(pipeline: CompiledPipeline) -> dict[str, Any]:
    executors = pipeline.spec["deploymentSpec"]["executors"]
    return {name: each["container"] for name, each in executors.items() if "container" in each}


@pytest.mark.parametrize("lower", [lower_for_kubeflow, lower_for_vertex])
def test_logical_images_become_real_ones_and_others_stay(pipeline: CompiledPipeline, lower: Any) -> None:
    lowered = lower(pipeline, IMAGES)
    assert {each["image"] for each in containers(lowered).values()} == {
        "registry.example/team/trainwright:1",
        "docker.io/library/python:3.12",
    }
    assert containers(pipeline)["exec-use"]["image"] == CPU_IMAGE, "the pipeline itself is left alone"
    refuse_unresolved_images(lowered)


def test_an_unresolved_image_is_refused_with_its_steps_and_the_remedy(pipeline: CompiledPipeline) -> None:
    assert unresolved_images(pipeline) == {CPU_IMAGE: ["use", "use-2"]}
    message = (
        r"the image 'trainwright/cpu' of use, use-2 .* --option images=cpu=HOST/NAME:TAG \(or set TRAINWRIGHT_IMAGES\)"
    )
    with pytest.raises(InvalidSetting, match=message):
        refuse_unresolved_images(pipeline)


def test_images_are_read_from_text() -> None:
    assert parse_images("cpu=a/b:1, other/image=c@sha256:d") == {CPU_IMAGE: "a/b:1", "other/image": "c@sha256:d"}
    with pytest.raises(InvalidSetting, match=r"images takes NAME=IMAGE,.* got 'cpu'"):
        parse_images("cpu")


def test_vertex_gets_limits_in_place_of_requests(pipeline: CompiledPipeline) -> None:
    resources = {name: each.get("resources") for name, each in containers(lower_for_vertex(pipeline, IMAGES)).items()}
    assert resources["exec-use"] == {
        "cpuLimit": 2.0,
        "memoryLimit": 4.0,
        "resourceCpuLimit": "2",
        "resourceMemoryLimit": "4G",
    }
    assert resources["exec-use-2"] == {
        "cpuLimit": 4.0,
        "memoryLimit": 2.0,
        "resourceCpuLimit": "4",
        "resourceMemoryLimit": "2G",
    }


def test_kubeflow_keeps_requests_and_the_platform_document(with_platform: CompiledPipeline) -> None:
    [text] = Kubeflow(images=IMAGES).lower(with_platform).values()
    spec, platform = yaml.safe_load_all(text)
    assert spec["deploymentSpec"]["executors"]["exec-use"]["container"]["resources"]["cpuRequest"] == 2.0
    assert platform == with_platform.platform


def test_vertex_refuses_a_kubernetes_setting_by_step_and_name(with_platform: CompiledPipeline) -> None:
    with pytest.raises(InvalidPipeline, match=r"use needs secretAsEnv, a Kubernetes setting that Vertex cannot carry"):
        lower_for_vertex(with_platform, IMAGES)


def test_vertex_drops_a_kubernetes_setting_that_changes_nothing(pipeline: CompiledPipeline) -> None:
    executors = {"exec-use": {"imagePullPolicy": "Always"}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    assert lower_for_vertex(replace(pipeline, platform=platform), IMAGES).platform == {}


def test_vertex_refuses_what_kfp_writes_for_a_pipeline_config(tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.12", install_kfp_package=False)
    def nothing() -> None:
        pass

    @dsl.pipeline(name="kept", pipeline_config=dsl.PipelineConfig(ttl_seconds_after_finished=10))
    def kept() -> None:
        nothing()

    compiler.Compiler().compile(kept, str(tmp_path / "kept.yaml"))
    with pytest.raises(InvalidPipeline, match="resourceTtlOnCompletion in its PipelineConfig"):
        lower_for_vertex(read_compiled(tmp_path / "kept.yaml"), IMAGES)


def with_accelerator(pipeline: CompiledPipeline, name: str) -> CompiledPipeline:
    lowered = lower_for_kubeflow(pipeline, IMAGES)
    resources = {"accelerator": {"type": name, "count": "1", "resourceType": name, "resourceCount": "1"}}
    containers(lowered)["exec-use"]["resources"] = resources
    return lowered


def test_vertex_wants_the_kind_of_an_accelerator(pipeline: CompiledPipeline) -> None:
    with pytest.raises(InvalidPipeline, match=r"use asks for nvidia.com/gpu, a Kubernetes resource.*NVIDIA_L4"):
        lower_for_vertex(with_accelerator(pipeline, "nvidia.com/gpu"), IMAGES)


def test_kubeflow_gets_the_resource_of_an_accelerator(pipeline: CompiledPipeline) -> None:
    lowered = lower_for_kubeflow(with_accelerator(pipeline, "NVIDIA_L4"), IMAGES)
    accelerator = containers(lowered)["exec-use"]["resources"]["accelerator"]
    assert accelerator["type"] == accelerator["resourceType"] == "nvidia.com/gpu"


def test_kubeflow_refuses_what_only_vertex_fills_in(pipeline: CompiledPipeline) -> None:
    lowered = lower_for_kubeflow(pipeline, IMAGES)
    containers(lowered)["exec-note"]["args"] = ["{{$.pipeline_google_cloud_project_id}}"]
    with pytest.raises(InvalidPipeline, match="note uses a placeholder that only Vertex fills in"):
        lower_for_kubeflow(lowered, IMAGES)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"source": "{here}/data.csv"}, "source"),
        ({"data": {"files": ["{here}/absent.csv"]}}, r"data\.files\.0"),
        ({"source": "file:///data/elsewhere.csv"}, "source"),
    ],
)
def test_a_local_path_is_refused_by_the_parameters_name(parameters: Any, name: str, tmp_path: Path) -> None:
    filled = yaml.safe_load(yaml.safe_dump(parameters).replace("{here}", str(tmp_path)))
    (tmp_path / "data.csv").touch()
    with pytest.raises(InvalidSetting, match=f"parameter '{name}' is the local path"):
        refuse_local_paths(filled, here=tmp_path, home=tmp_path)


def test_uris_and_paths_of_the_cluster_are_no_local_paths(tmp_path: Path) -> None:
    parameters = {"a": "gs://bucket/x", "b": "/mnt/absent-volume/models", "c": "digits", "d": 3, "e": ["x"], "f": "a/b"}
    refuse_local_paths(parameters, here=tmp_path, home=tmp_path)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [({"n": 2**53}, "n"), ({"data": {"seed": -(2**60)}}, "data.seed"), ({"params": {"a": [1, 2**53]}}, "params.a.1")],
)
def test_a_number_that_would_arrive_as_another_is_refused(parameters: dict[str, Any], name: str) -> None:
    refuse_rounded_numbers({"n": 2**53 - 1, "x": 1e300, "on": True})
    with pytest.raises(InvalidSetting, match=f"parameter '{name}' is -?[0-9]+, which would not arrive as it is"):
        refuse_rounded_numbers(parameters)


def test_what_is_written_for_kubeflow_loads_with_kfps_own_sdk(pipeline: CompiledPipeline, tmp_path: Path) -> None:
    [(name, text)] = Kubeflow(images=IMAGES).lower(pipeline).items()
    (tmp_path / name).write_text(text)
    loaded = components.load_component_from_file(str(tmp_path / name))
    assert loaded.name == "sample"
    assert set(loaded.component_spec.inputs) == {"module", "second", "n", "settings"}


def test_what_is_written_for_vertex_loads_with_googles_own_sdk(pipeline: CompiledPipeline, tmp_path: Path) -> None:
    [(name, text)] = Vertex(images=IMAGES).lower(pipeline).items()
    (tmp_path / name).write_text(text)
    job = aiplatform.PipelineJob(
        display_name="offline",
        template_path=str(tmp_path / name),
        pipeline_root="gs://bucket/root",
        parameter_values={"module": "gs://bucket/m.py", "n": 2},
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
    )
    assert job.job_id.startswith("sample-")


def test_what_is_written_says_which_images_are_open(pipeline: CompiledPipeline) -> None:
    assert to_yaml(pipeline).startswith(
        "# trainwright/cpu is a logical name: resolve it with --option images=cpu=...\n"
    )
    assert not to_yaml(lower_for_vertex(pipeline, IMAGES)).startswith("#")


def names_of_tasks(pipeline: CompiledPipeline, *, importers: bool) -> dict[str, str]:
    """Key of each task, with the component around it, to the name that KFP shows."""
    components = {"root": pipeline.spec["root"], **pipeline.spec["components"]}
    return {
        f"{around}/{key}": task["taskInfo"]["name"]
        for around, component in components.items()
        for key, task in component.get("dag", {}).get("tasks", {}).items()
        if key.startswith("importer") is importers
    }


def test_kubeflow_gets_importers_without_display_names_at_every_depth(
    with_named_importers: CompiledPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    lowered = lower_for_kubeflow(with_named_importers, IMAGES)
    importers = names_of_tasks(lowered, importers=True)
    assert len(importers) == 5
    assert {key.rpartition("/")[2] for key, name in importers.items() if key.rpartition("/")[2] != name} == set()
    assert names_of_tasks(lowered, importers=False) == names_of_tasks(with_named_importers, importers=False)
    assert "Use it" in names_of_tasks(lowered, importers=False).values(), "only importers are looked up by that name"
    [warning] = caplog.messages
    assert warning.startswith("Kubeflow Pipelines cannot find what an importer with a display name imports: ")
    assert sorted(re.findall(r"'([^']+)' is sent as importer", warning)) == [
        "Below",
        "In a condition",
        "In a loop",
        "The model",
    ]


def test_vertex_keeps_the_display_names_of_importers(
    with_named_importers: CompiledPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    assert "The model" in names_of_tasks(lower_for_vertex(with_named_importers, IMAGES), importers=True).values()
    assert caplog.messages == []


@pytest.fixture(scope="module", params=sorted(shipped_pipelines()))
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    return load_pipeline(shipped_pipelines()[request.param], tmp_path_factory.mktemp("compiled"))


def test_importers_of_every_shipped_pipeline_go_by_the_names_of_their_tasks(
    shipped: CompiledPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    assert names_of_tasks(shipped, importers=True) == {"root/importer": "importer"}
    lower_for_kubeflow(shipped, IMAGES)
    assert caplog.messages == []


def test_every_shipped_pipeline_loads_with_kfps_own_sdk(shipped: CompiledPipeline, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(to_yaml(lower_for_kubeflow(shipped, IMAGES)))
    assert components.load_component_from_file(str(tmp_path / "pipeline.yaml")).name == shipped.name


def test_every_shipped_pipeline_loads_with_googles_own_sdk(shipped: CompiledPipeline, tmp_path: Path) -> None:
    lowered = lower_for_vertex(shipped, IMAGES)
    refuse_unresolved_images(lowered)
    (tmp_path / "pipeline.yaml").write_text(to_yaml(lowered))
    job = aiplatform.PipelineJob(
        display_name="offline",
        template_path=str(tmp_path / "pipeline.yaml"),
        pipeline_root="gs://bucket/root",
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
    )
    assert job.job_id.startswith(shipped.name)


def test_the_module_of_every_pipeline_that_takes_one_is_uploaded(shipped: CompiledPipeline) -> None:
    if "module" in shipped.spec["root"]["inputDefinitions"]["parameters"]:
        assert imported_parameters(shipped.pipeline) == {"module"}
