"""Turn one compiled pipeline into what a remote target accepts, or refuse it before anything is sent."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_components.images import LOGICAL_PREFIX, is_logical
from trainwright_components.storage.addresses import plain
from trainwright_pipelines.engine.isolation.python_source import python_source, without_shells
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.ir.draft import Draft, show_as
from trainwright_pipelines.ir.spec import Dag, Pipeline
from trainwright_pipelines.ir.values import MAX_SAFE_INTEGER

logger = logging.getLogger(__name__)

IMAGES_VARIABLE = "TRAINWRIGHT_IMAGES"
IMAGES_OPTION = "real images of the logical ones: cpu=HOST/NAME:TAG, separated by commas; also in " + IMAGES_VARIABLE
PIPELINE_FILE = "pipeline.yaml"

_GPU_RESOURCE = "nvidia.com/gpu"
_GOOGLE_PLACEHOLDER = "{{$.pipeline_google_cloud"
_HARMLESS_ON_VERTEX = frozenset({"imagePullPolicy", "podMetadata"})  # Vertex decides these itself


def parse_images(text: str) -> dict[str, str]:
    """Read `cpu=HOST/NAME:TAG,...`; a name without prefix is one of ours.

    Raises:
        InvalidSetting: A part is not NAME=IMAGE.
    """
    images = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, image = part.partition("=")
        if not separator or not name or not image:
            raise InvalidSetting(f"images takes NAME=IMAGE,... such as cpu=HOST/NAME:TAG; got {part!r}")
        images[name if "/" in name else LOGICAL_PREFIX + name] = image
    return images


def chosen_images(options: Mapping[str, str]) -> dict[str, str]:
    """Real images of logical ones: from TRAINWRIGHT_IMAGES, and over it from a target's option `images`.

    Raises:
        InvalidSetting: A part is not NAME=IMAGE.
    """
    return parse_images(os.environ.get(IMAGES_VARIABLE, "")) | parse_images(options.get("images", ""))


def draft_for_containers(pipeline: CompiledPipeline, images: Mapping[str, str]) -> Draft:
    """A draft with the images that `images` names replaced by real ones, and with Python in place of shells around it.

    A shell that waits for its program does not pass SIGTERM on: a training run that is evicted would save nothing.
    """
    draft = Draft(pipeline)
    for _, container in draft.containers():
        image = container.get("image", "")
        container["image"] = images.get(image, image)
        if python_source(container) is not None:
            container["command"] = without_shells(container["command"])
    return draft


def unresolved_images(pipeline: CompiledPipeline) -> dict[str, list[str]]:
    """Logical images that are left, and the steps that need each."""
    found: dict[str, list[str]] = {}
    for label, executor in pipeline.pipeline.executors.items():
        if is_logical(executor.image):
            found.setdefault(executor.image, []).append(_step(label))
    return found


def refuse_unresolved_images(pipeline: CompiledPipeline) -> None:
    """Raise `InvalidSetting` if a step would be sent with an image that exists nowhere."""
    for image, steps in unresolved_images(pipeline).items():
        raise InvalidSetting(
            f"the image {image!r} of {', '.join(steps)} does not exist yet: build one with this package "
            "installed, push it, and give "
            f"--option images={image.removeprefix(LOGICAL_PREFIX)}=HOST/NAME:TAG (or set {IMAGES_VARIABLE})"
        )


def refuse_local_paths(parameters: Mapping[str, Any], *, here: Path, home: Path) -> None:
    """Raise `InvalidSetting` for a parameter that holds a path of this machine.

    A path is taken for one of this machine if it exists, or lies below `here` (the working folder) or `home`.
    """
    for name, value in _leaves(parameters):
        if not isinstance(value, str):
            continue
        path = Path(plain(value))
        if not path.is_absolute():
            continue
        if plain(value) != value or path.exists() or path.is_relative_to(here) or path.is_relative_to(home):
            raise InvalidSetting(
                f"parameter {name!r} is the local path {value}, which a remote step cannot read: "
                "copy it to storage that the target reads, and give that URI (gs://...)"
            )


def refuse_rounded_numbers(parameters: Mapping[str, Any]) -> None:
    """Raise `InvalidSetting` for an integer that would arrive as another one.

    Both services take parameters as `google.protobuf.Value`, whose only number is a double (protobuf, struct.proto).
    """
    for name, value in _leaves(parameters):
        if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
            raise InvalidSetting(
                f"parameter {name!r} is {value}, which would not arrive as it is: a remote target rounds integers "
                f"beyond {MAX_SAFE_INTEGER}. Set a smaller one"
            )


def lower_for_kubeflow(pipeline: CompiledPipeline, images: Mapping[str, str]) -> CompiledPipeline:
    """Real images, Kubernetes' name of GPUs, importers without display names, no shell above Python.

    The platform document stays.

    Raises:
        InvalidPipeline: A step uses what only Vertex has.
    """
    draft = draft_for_containers(pipeline, images)
    for label, container in draft.containers():
        step = _step(label)
        if _GOOGLE_PLACEHOLDER in str(container):
            raise InvalidPipeline(
                f"{step} uses a placeholder that only Vertex fills in ({_GOOGLE_PLACEHOLDER}_...}}}})"
            )
        _each_accelerator(step, container, _kubernetes_accelerator)
    _drop_names_of_importers(pipeline.pipeline, draft)
    return draft.done()


def lower_for_vertex(pipeline: CompiledPipeline, images: Mapping[str, str]) -> CompiledPipeline:
    """Real images, limits in place of requests, no shell above Python, one document.

    Raises:
        InvalidPipeline: A step needs what Vertex cannot give it; the message names the step.
    """
    _refuse_platform(pipeline.pipeline)
    for label, component in pipeline.pipeline.components.items():
        for name, slot in component.input_parameters.items():
            if slot.type == "TASK_CONFIG":
                raise InvalidPipeline(f"{_step(label)} takes a TaskConfig ({name}), which Vertex does not know")
    draft = draft_for_containers(pipeline, images)
    for label, container in draft.containers():
        _requests_to_limits(container)
        _each_accelerator(_step(label), container, _vertex_accelerator)
    return draft.done(platform={})


def to_yaml(pipeline: CompiledPipeline) -> str:
    """The documents as text; a comment at the top names the images that are still to be resolved."""
    notes = [
        f"# {image} is a logical name: resolve it with --option images={image.removeprefix(LOGICAL_PREFIX)}=...\n"
        for image in unresolved_images(pipeline)
    ]
    documents = [document for document in (pipeline.spec, pipeline.platform) if document]
    return "".join(notes) + "---\n".join(yaml.dump(document, Dumper=_DUMPER, sort_keys=True) for document in documents)


def _drop_names_of_importers(pipeline: Pipeline, draft: Draft) -> None:
    """Give each importer its task's own name, and say so where that drops a display name.

    KFP registers an importer under its display name, while the steps that read it look for the task's name and end
    with "cannot find producer task" (kubeflow/pipelines, backend/src/v2/component/importer_launcher.go at f595a7b9;
    seen with 2.17.0). Tasks of other kinds are registered under their own name (driver/container.go at 4206e936).
    """
    dropped = []
    for around, name, raw in draft.tasks():
        task = _dag_of(pipeline, around).tasks[name]
        if pipeline.importer_of(pipeline.component_of(task)) is not None:
            dropped += [f"{task.display_name!r} is sent as {name}"] if task.display_name != name else []
            show_as(raw, name)
    if dropped:
        logger.warning(
            "Kubeflow Pipelines cannot find what an importer with a display name imports: %s", ", ".join(dropped)
        )


def _dag_of(pipeline: Pipeline, component: str) -> Dag:
    dag = pipeline.root.dag if component == pipeline.root.name else pipeline.components[component].dag
    assert dag is not None  # the task is in it
    return dag


def _step(label: str) -> str:
    return label.removeprefix("exec-").removeprefix("comp-")


def _requests_to_limits(container: dict[str, Any]) -> None:
    """Vertex sizes a machine by limits and takes no requests."""
    resources = container.get("resources", {})
    for what in ("cpu", "memory"):
        for request, limit in (
            (f"{what}Request", f"{what}Limit"),
            (f"resource{what.title()}Request", f"resource{what.title()}Limit"),
        ):
            if request in resources:
                resources.setdefault(limit, resources.pop(request))


def _each_accelerator(step: str, container: dict[str, Any], translate: Callable[[str, str], str]) -> None:
    accelerator = container.get("resources", {}).get("accelerator", {})
    for key in ("type", "resourceType"):
        if key in accelerator:
            accelerator[key] = translate(step, accelerator[key])


def _kubernetes_accelerator(step: str, name: str) -> str:
    if name.startswith("NVIDIA_"):
        logger.warning(
            "%s: Kubeflow gets %s for %s; choose the kind of GPU with a node selector", step, _GPU_RESOURCE, name
        )
        return _GPU_RESOURCE
    return name


def _vertex_accelerator(step: str, name: str) -> str:
    if "/" in name:
        raise InvalidPipeline(
            f"{step} asks for {name}, a Kubernetes resource; Vertex needs the kind, such as "
            "set_accelerator_type('NVIDIA_L4') or 'NVIDIA_TESLA_T4'"
        )
    return name


def _refuse_platform(pipeline: Pipeline) -> None:
    for name in pipeline.platform_config:
        raise InvalidPipeline(f"the pipeline sets {name} in its PipelineConfig, which Vertex cannot carry")
    for label, settings in pipeline.platform_settings.items():
        for name in settings:
            if name not in _HARMLESS_ON_VERTEX:
                raise InvalidPipeline(
                    f"{_step(label)} needs {name}, a Kubernetes setting that Vertex cannot carry: "
                    "leave it out for this target, or run on kubeflow"
                )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        full_name = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{full_name}.")
        elif isinstance(value, list):
            yield from _leaves({str(index): each for index, each in enumerate(value)}, f"{full_name}.")
        else:
            yield full_name, value


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
