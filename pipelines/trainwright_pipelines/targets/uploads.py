"""Upload the user's code by content hash, so that a remote step can import it without a new image."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, TargetUnavailable

MODULES_FOLDER = "modules"
_DIGEST_DIGITS = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the same files give the same archive


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is uploaded of a module: its own bytes for a file, an archive for a folder."""

    name: str
    content: bytes

    @property
    def place(self) -> str:
        """Where it goes below the pipeline root: the same content, the same place."""
        digest = hashlib.sha256(self.content).hexdigest()[:_DIGEST_DIGITS]
        return f"{MODULES_FOLDER}/{digest}/{self.name}"


def pack_module(path: Path) -> Package:
    """A file as it is, or a folder as a zip that holds the folder itself.

    Raises:
        InvalidSetting: The folder is empty.
    """
    if path.is_file():
        return Package(name=path.name, content=path.read_bytes())
    files = sorted(_files_below(path))
    if not files:
        raise InvalidSetting(f"the folder {path} is empty: there is nothing to upload")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"{path.name}/{file.relative_to(path).as_posix()}", _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return Package(name=f"{path.name}.zip", content=buffer.getvalue())


def imported_parameters(spec: Mapping[str, Any]) -> set[str]:
    """Names of the pipeline parameters that an importer takes its URI from, through however many sub-pipelines."""
    return set(_imported(spec, spec["root"].get("dag", {})))


def local_modules(spec: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Path]:
    """Parameters that are imported as artifacts and hold a local path."""
    found = {}
    for name in imported_parameters(spec):
        value = parameters.get(name)
        if isinstance(value, str) and Path(value).is_absolute() and Path(value).exists():
            found[name] = Path(value)
    return found


def upload_modules(modules: Mapping[str, Path], root: str, *, project: str | None = None) -> dict[str, str]:
    """Upload each module below `root`, unless it is there already; their URIs by parameter.

    Raises:
        InvalidSetting: `root` is not a place that this can upload to.
        TargetUnavailable: Storage refuses, or cannot be reached.
    """
    if not modules:
        return {}
    bucket, folder = split_root(root, needed_for=next(iter(modules)))
    return {name: _upload(pack_module(path), bucket, folder, project) for name, path in modules.items()}


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


def _upload(package: Package, bucket: str, folder: str, project: str | None) -> str:
    import google.auth.exceptions
    from google.api_core import exceptions
    from google.cloud import storage

    place = f"{folder}/{package.place}" if folder else package.place
    uri = f"gs://{bucket}/{place}"
    try:
        blob = storage.Client(project=project).bucket(bucket).blob(place)
        blob.upload_from_string(package.content, "application/octet-stream", if_generation_match=0, timeout=60)
    except exceptions.PreconditionFailed:
        pass  # the same content is there already
    except exceptions.GoogleAPICallError as error:
        raise TargetUnavailable(f"cannot upload to {uri}: {error.code} {error.message}") from error
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise TargetUnavailable(NO_CREDENTIALS) from error
    except (OSError, google.auth.exceptions.GoogleAuthError, exceptions.RetryError) as error:
        raise TargetUnavailable(f"cannot upload to {uri}: {error}") from error
    return uri


NO_CREDENTIALS = (
    "there are no Google credentials: run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
)


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield path


def _imported(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> Iterator[str]:
    """Inputs of `dag` that end as the URI of an importer in it or below it."""
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    for task in dag.get("tasks", {}).values():
        component = spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
        importer = executors.get(component.get("executorLabel", ""), {}).get("importer")
        if importer is not None:
            inner = {importer.get("artifactUri", {}).get("runtimeParameter", "")}
        else:
            inner = set(_imported(spec, component.get("dag", {})))
        for name, given in task.get("inputs", {}).get("parameters", {}).items():
            if name in inner and "componentInputParameter" in given:
                yield given["componentInputParameter"]
