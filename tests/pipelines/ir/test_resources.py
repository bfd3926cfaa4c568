"""Quantities of Kubernetes in what a container asks for."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from kfp import dsl

from trainwright_components.errors import InvalidPipeline
from trainwright_pipelines.ir.resources import Resources, format_bytes, read_resources


@dsl.container_component
def tool() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="alpine", command=["true"])


def read(resources: Any) -> Resources:
    return read_resources({"resources": resources}, lambda text: text.replace("{{size}}", "3Gi"))


def test_what_the_compiler_writes_is_read_in_cores_and_bytes() -> None:
    @dsl.pipeline(name="asking")
    def asking() -> None:
        task = tool().set_cpu_request("500m").set_cpu_limit("2").set_memory_request("64Mi").set_memory_limit("2G")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)

    spec = MessageToDict(asking.pipeline_spec.deployment_spec)
    found = read(spec["executors"]["exec-tool"]["container"]["resources"])
    assert (found.cpu_request, found.cpu_limit, found.cpu) == (0.5, 2.0, 0.5)
    assert (found.memory_request_bytes, found.memory_limit_bytes) == (64 * 2**20, 2_000_000_000)
    assert (found.accelerator, found.accelerator_count) == ("nvidia.com/gpu", 2)


@pytest.mark.parametrize(
    "written",
    [
        {
            "resourceCpuRequest": "0.5",
            "resourceCpuLimit": "2",
            "resourceMemoryRequest": "1G",
            "resourceMemoryLimit": "2G",
            "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"},
        },
        {
            "cpuRequest": 0.5,
            "cpuLimit": 2.0,
            "memoryRequest": 1.0,
            "memoryLimit": 2.0,
            "accelerator": {"type": "nvidia.com/gpu", "count": "2"},
        },
    ],
)
def test_the_fields_of_today_are_enough_and_so_are_those_of_old(written: Any) -> None:
    found = read(written)
    assert (found.cpu_request, found.cpu_limit) == (0.5, 2.0)
    assert (found.memory_request_bytes, found.memory_limit_bytes) == (10**9, 2 * 10**9)
    assert (found.accelerator, found.accelerator_count) == ("nvidia.com/gpu", 2)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1e9", 10**9),
        ("1E", 10**18),
        ("128974848", 128974848),
        ("129M", 129_000_000),
        ("129K", 129_000),  # what only the SDK lets pass
        ("123Mi", 128974848),
        ("128974848000m", 128974848),
        (".5Ki", 512),
        ("{{size}}", 3 * 2**30),
    ],
)
def test_a_quantity_has_the_value_that_kubernetes_gives_it(text: str, size_bytes: int) -> None:
    """The equal ones are those of kubernetes.io/docs/concepts/configuration/manage-resources-containers."""
    assert read({"resourceMemoryLimit": text}).memory_bytes == size_bytes


def test_specs_of_older_compilers_have_numbers_of_cores_and_gigabytes() -> None:
    found = read({"cpuLimit": 1.5, "memoryLimit": 0.5, "accelerator": {"type": "NVIDIA_L4", "count": "1"}})
    assert (found.cpu, found.memory_bytes, found.accelerator, found.accelerator_count) == (
        1.5,
        5 * 10**8,
        "NVIDIA_L4",
        1,
    )
    assert read({}) == Resources()


@pytest.mark.parametrize("text", ["much", "-1", "1 Gi", "1KiB"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidPipeline, match=f"resourceMemoryLimit is a quantity such as .*{text}"):
        read({"resourceMemoryLimit": text})


def test_bytes_are_told_in_the_unit_that_fits() -> None:
    assert [format_bytes(each) for each in (512, 64 * 2**20, 1_500_000_000)] == ["512 bytes", "64 MiB", "1.397 GiB"]
