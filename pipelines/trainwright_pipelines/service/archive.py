"""One run as an archive that opens elsewhere: its page as index.html, its record, its artifacts and logs.

Paths of this machine and secrets are taken out of all texts. Files that are not text stay as they are; those that hold
the folder of state's path all the same are named.
"""

import errno
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, RunNotFound
from trainwright_components.files import whole_file
from trainwright_components.short_floats import as_json
from trainwright_pipelines.engine.leases import is_held
from trainwright_pipelines.engine.leftovers import EXPORT_PREFIX
from trainwright_pipelines.engine.masking import Mask
from trainwright_pipelines.engine.platform_settings import LocalSecrets
from trainwright_pipelines.engine.records import Artifact, Run, Task, Values
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.service.pages.run_page import render_run_page
from trainwright_pipelines.service.portable import Portable

FORMAT = 1
_REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
SUFFIXES = (".tar.gz", ".zip")

_LEAST_SECRET = 6  # characters; shorter values, such as `true`, are words of artifacts
_TEXT_SUFFIXES = {".csv", ".html", ".json", ".jsonl", ".md", ".py", ".txt", ".yaml", ".yml", ""}
_MAX_TEXT_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """The archive; `files_with_paths` are those in it that are not text and hold a path of this machine."""

    file: Path
    size_bytes: int
    files: int
    left_out: tuple[str, ...]
    files_with_paths: tuple[str, ...]


def export_run(store: Store, run_id: str, file: Path) -> ExportedRun:
    """Write a run into `file`, a .tar.gz or a .zip.

    Raises:
        InvalidSetting: `file` ends otherwise or cannot be written, or the run is being executed.
        RunNotFound: There is no such run, or its folder is gone.
    """
    pack = next((each for suffix, each in _PACKERS.items() if file.name.endswith(suffix)), None)
    if pack is None:
        raise InvalidSetting(f"an archive ends with {' or '.join(SUFFIXES)}, got {file.name}")
    if not file.parent.is_dir():
        raise InvalidSetting(f"the folder {file.parent} is not there: make it first")
    run = store.run(run_id)
    if is_held(store.engine, run.id):
        raise InvalidSetting(f"run {run.id} is being executed: export it once it has ended")
    if not run.folder.is_dir():
        raise RunNotFound(f"the folder of run {run.id}, {run.folder}, is gone")
    with tempfile.TemporaryDirectory(dir=store.home, prefix=EXPORT_PREFIX) as name:
        staged = Staged(folder=Path(name) / run.id, store=store, run=run)
        left_out = staged.write()
        names = sorted(each.relative_to(name).as_posix() for each in staged.folder.rglob("*") if each.is_file())
        try:
            with whole_file(file) as partial:
                pack(partial, Path(name), names)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise InvalidSetting(f"{file} cannot be written: {error.strerror}") from error
        found = tuple(each for each in names if _holds(Path(name) / each, str(store.home)))
    return ExportedRun(
        file=file,
        size_bytes=file.stat().st_size,
        files=len(names),
        left_out=left_out,
        files_with_paths=found,
    )


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A run as it will lie in the archive, in a folder that is not there yet."""

    folder: Path
    store: Store
    run: Run

    def write(self) -> tuple[str, ...]:
        """Fill the folder; the artifacts that are left out, since they lie elsewhere or are gone."""
        self.folder.mkdir()
        tasks, portable = self.store.tasks(self.run.id), self._portable()
        left_out: list[str] = []
        staged = {each.id: self._stage(task, slot, each, portable) for task, slot, each in _outputs(tasks)}
        left_out += [f"{task.label} {slot}" for task, slot, each in _outputs(tasks) if staged[each.id] is None]
        moved = [self._moved(task, staged, portable) for task in tasks]
        run = portable.record(self.run)
        spec_text = portable.text(self.store.spec_text(self.run.id))
        page = render_run_page(run, moved, spec_text, links_artifacts=True)
        (self.folder / "index.html").write_text(self._relative(page), encoding="utf-8")
        (self.folder / "pipeline.yaml").write_text(spec_text, encoding="utf-8")
        record = {
            "format": FORMAT,
            "trainwright": version("trainwright"),
            "run": asdict(run),
            "tasks": [asdict(task) for task in moved],
            "events": [asdict(portable.record(each)) for each in self.store.events(self.run.id)],
        }
        plain = as_json(json.loads(json.dumps(record, default=_plain)))
        text = self._relative(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
        (self.folder / "record.json").write_text(text, encoding="utf-8")
        return tuple(left_out)

    def _portable(self) -> Portable:
        """What is written for the places that a run's texts name."""
        made_of = self.run.provenance
        places = {str(self.run.folder): ".", str(self.store.home): "$TRAINWRIGHT_HOME", str(Path.home()): "~"}
        for name, each in (made_of.get("inputs") or {}).items():
            places.setdefault(str(each["path"]), f"…/{Path(each['path']).name or name}")
        if source := made_of.get("source"):
            places.setdefault(str(source["file"]), f"…/{Path(source['file']).name}")
        for repository in made_of.get("git") or ():
            places.setdefault(str(repository["repository"]), f"…/{Path(repository['repository']).name}")
        secrets = LocalSecrets.load(self.store.home, os.environ).values
        return Portable(places=places, secrets=Mask(each for each in secrets if len(each) >= _LEAST_SECRET))

    def _stage(self, task: Task, slot: str, artifact: Artifact, portable: Portable) -> Path | None:
        source = artifact.path
        is_ours = source is not None and source.is_relative_to(self.store.home / "runs")
        if source is None or not is_ours or not source.exists():
            return None
        target = self.folder / "steps" / task.path / "outputs" / slot
        if target.exists():  # one of several in a slot
            target = target.with_name(f"{slot}-{artifact.id[:8]}")
        for file in _files(source):
            copy = target / file.relative_to(source) if file != source else target
            _copy(file, copy, portable.content)
        return target

    def _moved(self, task: Task, staged: dict[str, Path | None], portable: Portable) -> Task:
        """The task as it is told elsewhere: files that are here by where they lie in the archive."""
        log = self.folder / "steps" / task.path / "log.txt"
        has_log = task.log is not None and task.log.is_file()
        if task.log is not None and has_log:
            _copy(task.log, log, portable.text)
        told = portable.record(task)
        return replace(
            told,
            folder=self.folder / "steps" / task.path if task.folder is not None else None,
            log=log if has_log else None,
            attempts=tuple(replace(each, log=None) for each in told.attempts),
            inputs=_with_places(told.inputs, staged),
            outputs=_with_places(told.outputs, staged),
        )

    def _relative(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), ".")


def _outputs(tasks: Sequence[Task]) -> Iterator[tuple[Task, str, Artifact]]:
    """What the steps gave and has a file; groups only hand on what steps inside them gave."""
    for task in tasks:
        for slot, artifacts in ({} if task.is_group else task.outputs.artifacts).items():
            yield from ((task, slot, each) for each in artifacts if each.digest is not None)


def _with_places(values: Values, staged: dict[str, Path | None]) -> Values:
    def place(artifact: Artifact) -> Artifact:
        path = staged.get(artifact.id)
        return artifact if path is None else replace(artifact, uri=str(path))

    return replace(
        values, artifacts={slot: tuple(map(place, artifacts)) for slot, artifacts in values.artifacts.items()}
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for each in sorted(path.rglob("*")):
        if each.is_file() and not each.is_symlink() and "__pycache__" not in each.parts:
            yield each


def _copy(source: Path, target: Path, rewrite: Callable[[str], str]) -> None:
    """Copy a file, by a hard link where it is not text and nothing is to be rewritten."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in _TEXT_SUFFIXES and source.stat().st_size <= _MAX_TEXT_BYTES:
        try:
            target.write_text(rewrite(source.read_bytes().decode()), encoding="utf-8", newline="")
            return
        except UnicodeDecodeError:
            pass  # no text, whatever its name
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _holds(file: Path, place: str) -> bool:
    wanted, rest = place.encode(), b""
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            if wanted in rest + chunk:
                return True
            rest = chunk[-len(wanted) :]
    return False


def _pack_tar(file: Path, folder: Path, names: Sequence[str]) -> None:
    with tarfile.open(file, "w:gz", dereference=True) as archive:  # hard links are files of their own elsewhere
        for name in names:
            archive.add(folder / name, name, recursive=False, filter=_of_nobody)


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def _pack_zip(file: Path, folder: Path, names: Sequence[str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)


_PACKERS = {".tar.gz": _pack_tar, ".zip": _pack_zip}


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
