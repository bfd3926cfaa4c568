"""Upload the user's code by content hash, so that a remote step can import it without a new image.

A folder goes up file by file below one address: that is the form in which KFP and Vertex hand a folder to a step, which
then finds it as it was. A file that is there already is not sent again, and all are there before a run is sent.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.files import content_digest
from trainwright_components.storage.addresses import join, scheme_of, split_bucket
from trainwright_components.storage.google_cloud import GoogleCloudStorage
from trainwright_components.storage.protocol import Storage
from trainwright_components.storage.s3 import S3Storage
from trainwright_components.user_module.conventions import ENTRY_FILES
from trainwright_pipelines.ir.spec import Component, Pipeline

MODULES_FOLDER = "modules"
MAX_MODULE_BYTES = 100 << 20
_STORAGES: Mapping[str, type[Storage]] = {
    scheme: kind for kind in (GoogleCloudStorage, S3Storage) for scheme in kind.schemes
}  # that steps read too

_DIGEST_DIGITS = 16


def is_module(path: Path) -> bool:
    """Whether `path` is a model module: a Python file, or a folder with its entry file."""
    return (path.is_file() and path.suffix == ".py") or any((path / name).is_file() for name in ENTRY_FILES)


def module_place(path: Path) -> str:
    """Where a module goes below the pipeline root: the same content, the same place."""
    return f"{MODULES_FOLDER}/{content_digest(path)[:_DIGEST_DIGITS]}/{path.name}"


def module_files(path: Path) -> dict[str, Path]:
    """The files of a module by what follows its place: nothing for a single file.

    Raises:
        InvalidSetting: The folder is too large for code.
    """
    if path.is_file():
        return {"": path}
    files = {f"/{file.relative_to(path).as_posix()}": file for file in sorted(_files_below(path))}
    size_bytes = sum(file.stat().st_size for file in files.values())
    if size_bytes > MAX_MODULE_BYTES:
        limit = f"{MAX_MODULE_BYTES >> 20} MB"
        raise InvalidSetting(f"the module folder {path} holds {size_bytes >> 20} MB, over {limit}: move data out of it")
    return files


def imported_parameters(pipeline: Pipeline, *, artifact_type: str = "") -> set[str]:
    """Names of the pipeline parameters that an importer takes its URI from, through however many sub-pipelines.

    With an `artifact_type`, such as `system.Model`, only importers of that type count.
    """
    return set(_imported(pipeline, pipeline.root, artifact_type))


def local_modules(pipeline: Pipeline, parameters: Mapping[str, Any]) -> dict[str, Path]:
    """Parameters that are imported as artifacts and hold the path of a model module on this machine."""
    texts = {name: parameters[name] for name in sorted(imported_parameters(pipeline) & parameters.keys())}
    paths = {name: Path(text) for name, text in texts.items() if isinstance(text, str)}
    return {name: path for name, path in paths.items() if path.is_absolute() and is_module(path)}


def upload_modules(modules: Mapping[str, Path], root: str) -> dict[str, str]:
    """Upload each module below `root`; their URIs by parameter.

    Raises:
        InvalidSetting: `root` is not a place that this can upload to.
        TargetUnavailable: Storage refuses, or cannot be reached.
    """
    uploaded = {}
    storage: Storage | None = None
    for name, path in modules.items():
        check_root(root, needed_for=name)
        storage = storage or _STORAGES[scheme_of(root)]()
        uri = join(root, module_place(path))
        for rest, file in module_files(path).items():
            _upload(file, uri + rest, storage)
        uploaded[name] = uri
    return uploaded


def check_root(root: str, *, needed_for: str) -> None:
    """Raise `InvalidSetting` for a root that names no bucket of a storage which steps read too."""
    if scheme_of(root) not in _STORAGES or not split_bucket(root)[0]:
        given = f"got {root!r}" if root else "none is given"
        raise InvalidSetting(
            f"parameter {needed_for!r} is a local path, to be uploaded under a pipeline_root in gs:// or s3://, but "
            f"{given}: set --option pipeline_root=gs://BUCKET/FOLDER, or give a URI that the target can read"
        )


def _upload(file: Path, uri: str, storage: Storage) -> None:
    try:
        storage.write(uri, file, replace=False)  # the same content goes to the same place
    except OSError as error:
        raise TargetUnavailable(f"cannot upload to {uri}: {error}") from error


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield path


def _imported(pipeline: Pipeline, around: Component, artifact_type: str) -> Iterator[str]:
    """Inputs of `around` that end as the URI of an importer in it or below it."""
    for task in around.dag.tasks.values() if around.dag is not None else ():
        component = pipeline.component_of(task)
        if (importer := pipeline.importer_of(component)) is not None:
            inner = {importer.uri.input} if artifact_type in ("", importer.type) else set()
        else:
            inner = set(_imported(pipeline, component, artifact_type))
        for name, source in task.parameters.items():
            if name in inner and source.input is not None:
                yield source.input
