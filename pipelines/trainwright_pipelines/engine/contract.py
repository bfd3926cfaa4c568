"""KFP's task contract: the ExecutorInput that a task gets, and what it must leave behind."""

import json
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainwright_components.errors import InvalidPipeline, InvalidSetting, RunFailed
from trainwright_components.files import content_digest, is_utf8, write_whole
from trainwright_components.storage.addresses import is_remote, plain
from trainwright_pipelines.engine.records import Artifact, Values
from trainwright_pipelines.ir.json_numbers import odd_numbers
from trainwright_pipelines.ir.spec import ArtifactSlot, Component
from trainwright_pipelines.ir.values import check_depth, coerce

WARNING_MARK = "warning: "
"""Begins what a task warns of, after the time, in its log."""
PDB_VARIABLE = "TRAINWRIGHT_PDB"
"""Set where a task that fails shall open the debugger."""
QUIET_VARIABLE = "TRAINWRIGHT_QUIET_DEVICES"
"""Set where a task shall have TensorFlow look for devices before anything else, see `find_devices_quietly`."""
CUSTOM_PATH = "customPath"
"""KFP's field for the path of an artifact where its address does not tell it."""
_SHOWN_NUMBERS = 3
# getExecutorOutputFile in backend/src/v2/component/launcher_v2.go: protojson takes no NaN, which Python's json writes.
_ODD_NUMBERS = "it gave {}, which JSON has not: it is handed on here, and on Kubeflow the step would fail"
_WITHOUT_FILE = {"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"}


@dataclass(frozen=True)
class StepFolder:
    """Where one step keeps its files."""

    path: Path

    def make(self, *, keeps_artifacts: bool = False) -> None:
        """Make it, as empty as a new container, whatever an earlier attempt has left.

        With `keeps_artifacts` output artifacts and the working folder stay, for a step that goes on from them.

        Raises:
            OSError: What an earlier attempt has left cannot be removed.
        """
        if self.path.is_dir():
            self._empty(kept={self.artifacts, self.work} if keeps_artifacts else set())
        self.path.mkdir(parents=True, exist_ok=True)
        for path in (self.parameters, self.artifacts, self.work, self.scratch):
            path.mkdir(exist_ok=True)

    def _empty(self, *, kept: set[Path]) -> None:
        _open_up(self.path)
        for path in (self.parameters, self.scratch, self.artifacts, self.work):
            if path not in kept or path.is_symlink() or not path.is_dir():
                _remove(path)
        for path in (self.executor_input, self.executor_output, self.report, self.source, self.brought):
            _remove(path)

    @property
    def executor_input(self) -> Path:
        """KFP's ExecutorInput."""
        return self.path / "executor_input.json"

    @property
    def executor_output(self) -> Path:
        """KFP's ExecutorOutput."""
        return self.path / "executor_output.json"

    @property
    def report(self) -> Path:
        """What went wrong, said by the task."""
        return self.path / "error.json"

    @property
    def source(self) -> Path:
        """A lightweight component's code."""
        return self.path / "component.py"

    @property
    def parameters(self) -> Path:
        """Output parameters that a program writes as files."""
        return self.path / "parameters"

    @property
    def artifacts(self) -> Path:
        """Output artifacts."""
        return self.path / "outputs"

    @property
    def work(self) -> Path:
        """The task's working folder."""
        return self.path / "work"

    @property
    def scratch(self) -> Path:
        """The task's TMPDIR; removed when it ends."""
        return self.path / "tmp"

    @property
    def brought(self) -> Path:
        """Outputs copied out of a container, on their way to their places."""
        return self.path / "brought"

    def log(self, attempt: int) -> Path:
        """Output of one attempt."""
        return self.path / f"log-{attempt}.txt"


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, also one that its owner may not write to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        for folder in _folders_from(path):
            _open_up(folder)
        shutil.rmtree(path)


def _folders_from(top: Path) -> Iterator[Path]:
    """`top` and the folders below it, each before its content is listed."""
    yield top
    for each in top.iterdir():
        if each.is_dir() and not each.is_symlink():
            yield from _folders_from(each)


def _open_up(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        folder.chmod(mode | stat.S_IRWXU)


def build_executor_input(
    component: Component,
    inputs: Values,
    folder: StepFolder,
    artifacts: Path,
    *,
    copies: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Any]:
    """KFP's ExecutorInput for one step whose output artifacts go below `artifacts`.

    `copies` are paths of input artifacts that lie elsewhere, by address.
    """
    schemas = {slot: each.schema for slot, each in component.input_artifacts.items()}
    return {
        "inputs": {
            "parameterValues": dict(inputs.parameters),
            "artifacts": {
                slot: {"artifacts": [_runtime_artifact(each, schemas.get(slot), copies) for each in found]}
                for slot, found in inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": {slot: {"outputFile": str(folder.parameters / slot)} for slot in component.output_parameters},
            "artifacts": {
                slot: {"artifacts": [_planned_artifact(slot, each, artifacts / slot)]}
                for slot, each in component.output_artifacts.items()
            },
            "outputFile": str(folder.executor_output),
        },
    }


def _runtime_artifact(
    artifact: Artifact, schema: Mapping[str, Any] | None, copies: Mapping[str, Path]
) -> dict[str, Any]:
    known = dict(schema or {}) if artifact.type == "system.Artifact" and schema else {"schemaTitle": artifact.type}
    told = {"name": artifact.name, "type": known, "uri": artifact.uri, "metadata": dict(artifact.metadata)}
    return told | ({CUSTOM_PATH: str(copies[artifact.uri])} if artifact.uri in copies else {})


def _planned_artifact(name: str, slot: ArtifactSlot, path: Path) -> dict[str, Any]:
    return {"name": name, "type": dict(slot.schema), "uri": str(path), "metadata": dict(slot.metadata)}


def write_executor_input(executor_input: Mapping[str, Any], folder: StepFolder) -> None:
    """Write the ExecutorInput where the task finds it; a step that the machine went down with is prepared again."""
    write_whole(folder.executor_input, json.dumps(executor_input, indent=2), is_durable=False)


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """What a task that said it succeeded has left behind, and what is wrong with it."""

    values: Values
    warnings: tuple[str, ...] = ()


def read_outputs(
    component: Component,
    executor_input: Mapping[str, Any],
    folder: StepFolder,
    *,
    task_id: str,
    needs_artifacts: bool = True,
    brought: Mapping[str, Path] = MappingProxyType({}),
) -> LeftBehind:
    """What a task that said it succeeded has left behind.

    Args:
        component: What it declares.
        executor_input: What it was given.
        folder: Its files.
        task_id: Its id.
        needs_artifacts: Whether an artifact that it left unwritten is an error. KFP's launcher warns of it, and a later
            step finds nothing at its path (uploadOutputArtifacts in backend/src/v2/component/launcher_v2.go: "We allow
            components to not produce output files").
        brought: Copies of what lay inside its container, by the paths that it named.

    Raises:
        RunFailed: A declared output is missing, or is not of its type.
    """
    said = _executor_output(folder.executor_output)
    try:
        return _left_behind(
            said,
            component,
            executor_input,
            folder,
            task_id=task_id,
            needs_artifacts=needs_artifacts,
            brought=brought,
        )
    except (AttributeError, LookupError, TypeError) as error:  # lists for mappings and the like
        reason = f"{type(error).__name__}: {error}"
        raise RunFailed(f"the step's {folder.executor_output.name} is not KFP's ExecutorOutput: {reason}") from error


def _left_behind(
    said: Mapping[str, Any],
    component: Component,
    executor_input: Mapping[str, Any],
    folder: StepFolder,
    *,
    task_id: str,
    needs_artifacts: bool,
    brought: Mapping[str, Path],
) -> LeftBehind:
    values = dict(said.get("parameterValues") or {})
    for name, old in (said.get("parameters") or {}).items():
        values.setdefault(name, next(iter(old.values()), None))
    parameters = {}
    for name, slot in component.output_parameters.items():
        value = values[name] if values.get(name) is not None else _from_file(folder.parameters / name)
        if value is None:
            raise RunFailed(f"the step ended well but gave no value for its output {name!r}")
        try:
            parameters[name] = coerce(value, slot.type, name=name)
        except InvalidSetting as error:
            raise RunFailed(f"the step gave an output of another type: {error}") from error
        _check_text(name, parameters[name])
    artifacts, warnings = {}, []
    for name, each in component.output_artifacts.items():
        planned = executor_input["outputs"]["artifacts"][name]["artifacts"][0]
        found = ((said.get("artifacts") or {}).get(name) or {}).get("artifacts") or [planned]
        check_depth([one.get("metadata") for one in found], name=name)
        _check_text(name, found)
        unplaced = [_custom_path(one) for one in found if not _put_in_place(one, planned, folder.work, brought)]
        artifacts[name] = tuple(_output(name, each, planned, one, task_id=task_id, brought=brought) for one in found)
        unwritten = [one.uri for one in artifacts[name] if _is_unwritten(each, one, planned)]
        if missing := next(iter((*unplaced, *unwritten)), ""):
            reason = f"its output {name!r} is not there: nothing was written to {missing}"
            if needs_artifacts:
                raise RunFailed(f"the step ended well but {reason}")
            warnings.append(f"{reason}; a step that reads it finds nothing")
    metadata = {name: [dict(one.metadata) for one in found] for name, found in artifacts.items()}
    if odd := [*odd_numbers(parameters, "outputs"), *odd_numbers(metadata, "metadata")]:
        more = ", ..." if len(odd) > _SHOWN_NUMBERS else ""
        warnings.append(_ODD_NUMBERS.format(", ".join(odd[:_SHOWN_NUMBERS]) + more))
    return LeftBehind(values=Values(parameters=parameters, artifacts=artifacts), warnings=tuple(warnings))


def lacks_content(artifact: Artifact) -> bool:
    """Whether a step left an artifact unwritten, without anything said of it instead."""
    has_file = artifact.digest is not None or artifact.path is None
    return not has_file and not artifact.metadata and artifact.type not in _WITHOUT_FILE


def _is_unwritten(slot: ArtifactSlot, artifact: Artifact, planned: Mapping[str, Any]) -> bool:
    was_touched = artifact.uri != planned["uri"] or artifact.metadata != planned["metadata"]
    has_no_file = artifact.digest is None and not is_remote(artifact.uri)
    return has_no_file and not was_touched and slot.type not in _WITHOUT_FILE


def _executor_output(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    if not path.is_file():  # a pipe would be read for ever
        raise RunFailed(f"the step's {path.name} is not a file")
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RunFailed(f"the step's {path.name} cannot be read as JSON: {error}") from error
    if not isinstance(said, dict):
        raise RunFailed(f"the step's {path.name} holds no ExecutorOutput")
    return said


def _from_file(path: Path) -> str | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    _check_text(path.name, text)
    return text


def _check_text(name: str, value: Any) -> None:
    if not is_utf8(value):
        shown = ascii(value)[:200]
        raise RunFailed(f"the step's output {name!r} is not UTF-8 text: {shown}. Encode it, or write a file instead")


def named_paths(folder: StepFolder) -> list[tuple[str, bool]]:
    """The paths at which a task says that its output artifacts lie; with each whether it is the artifact's address.

    None where it has not left what KFP's contract says, which `read_outputs` tells.
    """
    try:
        said = _executor_output(folder.executor_output)
        lists = [found["artifacts"] for found in (said.get("artifacts") or {}).values()]
        found = [one for each in lists for one in each]
        return [
            *((custom, False) for one in found if (custom := _custom_path(one))),
            *((str(one["uri"]), True) for one in found if one.get("uri") and not _custom_path(one)),
        ]
    except (AttributeError, LookupError, RunFailed, TypeError):
        return []


def _custom_path(said: Mapping[str, Any]) -> str:
    return str(said.get("custom_path") or said.get(CUSTOM_PATH) or "")


def _put_in_place(said: Mapping[str, Any], planned: Mapping[str, Any], work: Path, brought: Mapping[str, Path]) -> bool:
    """Copy what lies at a path of the task's own to the artifact's place; False if nothing does.

    The launcher takes it from there, and from nowhere else (retrieveArtifactPath in
    backend/src/v2/component/launcher_v2.go, whose working folder is the task's).
    """
    uri, custom = str(said.get("uri") or planned["uri"]), _custom_path(said)
    if not custom:
        if (copy := brought.get(uri)) is not None and copy.exists():
            _copy(copy, Path(planned["uri"]))
        return True
    source, target = brought.get(custom, work / custom), Path(uri)
    if not source.exists():
        return False
    if not is_remote(uri) and source.absolute() != target.absolute():
        _copy(source, target)
    return True


def _output(
    name: str,
    slot: ArtifactSlot,
    planned: Mapping[str, Any],
    said: Mapping[str, Any],
    *,
    task_id: str,
    brought: Mapping[str, Path],
) -> Artifact:
    uri, metadata = str(said.get("uri") or planned["uri"]), dict(said.get("metadata") or {})
    is_inside = uri in brought and not _custom_path(said)
    if is_inside and brought[uri].exists():
        uri, is_inside = str(planned["uri"]), False
    return Artifact(
        id=uuid.uuid4().hex,
        name=str(said.get("name") or name),
        type=str((said.get("type") or {}).get("schemaTitle") or slot.type),
        uri=uri,
        metadata=metadata,
        digest=None if is_inside else digest_of(uri),
        producer_task_id=task_id,
        created=datetime.now(UTC),
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def digest_of(uri: str) -> str | None:
    """SHA-256 of what lies at `uri`; None for what lies elsewhere or is not there."""
    path = Path(uri)
    return content_digest(path) if not is_remote(uri) and path.exists() else None


def import_artifact(
    slot: ArtifactSlot, uri: str, metadata: Mapping[str, Any], *, task_id: str | None, name: str
) -> Artifact:
    """What an importer gives: a local path as it is, anything else by reference.

    Raises:
        InvalidPipeline: Nothing lies at the local path.
    """
    plain_uri = plain(uri)
    if not is_remote(plain_uri):
        path = Path(plain_uri).expanduser().absolute()
        if not plain_uri or not path.exists():
            raise InvalidPipeline(f"there is nothing to import at {plain_uri!r}")
        plain_uri = str(path)
    return Artifact(
        id=uuid.uuid4().hex,
        name=name,
        type=slot.type,
        uri=plain_uri,
        metadata=dict(metadata),
        digest=digest_of(plain_uri),
        producer_task_id=task_id,
        created=datetime.now(UTC),
    )
