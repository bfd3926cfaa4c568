"""Upload the user's code by content hash, so that a remote step can import it without a new image.

A folder goes up file by file below one address: that is the form in which KFP and Vertex hand a folder to a step, which
then finds it as it was. A file that is there already is not sent again, and all are there before a run is sent.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.files import content_digest
from trainwright_components.user_module.conventions import ENTRY_FILES
from trainwright_pipelines.ir.spec import Component, Pipeline

if TYPE_CHECKING:
    from google.cloud import storage

MODULES_FOLDER = "modules"
MAX_MODULE_BYTES = 100 << 20
NO_CREDENTIALS = (
    "there are no Google credentials: run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
)

_DIGEST_DIGITS = 16
_TIMEOUT_S = 60


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


def upload_modules(modules: Mapping[str, Path], root: str, *, project: str | None = None) -> dict[str, str]:
    """Upload each module below `root`; their URIs by parameter.

    Raises:
        InvalidSetting: `root` is not a place that this can upload to.
        TargetUnavailable: Storage refuses, or cannot be reached.
    """
    if not modules:
        return {}
    bucket_name, folder = split_root(root, needed_for=next(iter(modules)))
    bucket = _bucket(bucket_name, project)
    uploaded = {}
    for name, path in modules.items():
        place = "/".join(filter(None, (folder, module_place(path))))
        for rest, file in module_files(path).items():
            _upload(file, bucket, place + rest)
        uploaded[name] = f"gs://{bucket_name}/{place}"
    return uploaded


def split_root(root: str, *, needed_for: str) -> tuple[str, str]:
    """Bucket and folder of a `gs://` root.

    Raises:
        InvalidSetting: There is no root, or it is elsewhere.
    """
    if not root.startswith("gs://") or not root.removeprefix("gs://").strip("/"):
        given = f"got {root!r}" if root else "none is given"
        raise InvalidSetting(
            f"parameter {needed_for!r} is a local path, to be uploaded under a pipeline_root in gs://, but {given}: "
            "set --option pipeline_root=gs://BUCKET/FOLDER, or give a URI that the target can read"
        )
    bucket, _, folder = root.removeprefix("gs://").strip("/").partition("/")
    return bucket, folder


def _bucket(name: str, project: str | None) -> "storage.Bucket":
    import google.auth.exceptions
    from google.cloud import storage

    try:
        return storage.Client(project=project).bucket(name)
    except (OSError, google.auth.exceptions.DefaultCredentialsError) as error:  # OSError: no project was found either
        raise TargetUnavailable(NO_CREDENTIALS) from error


def _upload(file: Path, bucket: "storage.Bucket", place: str) -> None:
    import google.auth.exceptions
    import requests
    from google.api_core import exceptions

    uri = f"gs://{bucket.name}/{place}"
    try:
        # a retry after a lost answer finds the file there already, which is as good
        bucket.blob(place).upload_from_filename(str(file), if_generation_match=0, timeout=_TIMEOUT_S)
    except exceptions.PreconditionFailed:
        return
    except exceptions.GoogleAPICallError as error:
        raise TargetUnavailable(f"cannot upload to {uri}: {error.code} {error.message}") from error
    except (requests.RequestException, google.auth.exceptions.GoogleAuthError, exceptions.RetryError) as error:
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
