"""Which runs may go, by age or number; which stay, and why: live ones, those to resume, those behind served models."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from trainwright_components.errors import InvalidData
from trainwright_components.saved_models.history import HISTORY_NAME, last_published, parse_history
from trainwright_pipelines.engine.execution import now
from trainwright_pipelines.engine.leases import is_held
from trainwright_pipelines.engine.records import Run, State
from trainwright_pipelines.engine.runs import RESUMABLE, check_deletable, find_runs, live_state
from trainwright_pipelines.engine.store import Store

_STARTS_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A run that was asked to go; `kept_because` is empty where it does."""

    run: Run
    live_state: str
    size_bytes: int
    kept_because: str = ""


def choose_runs(
    store: Store,
    *,
    older_than: timedelta | None = None,
    keep: int = 0,
    pipeline: str = "",
    state: str = "",
) -> list[Choice]:
    """The runs that were created longer ago than `older_than` and are not among the `keep` newest, newest first.

    One that can be resumed stays, unless its `state` was asked for by name.
    """
    behind = served_runs(store)
    found = list(find_runs(store, pipeline=pipeline, state=state))[keep:]
    before = None if older_than is None else now() - older_than
    return [
        Choice(
            run=run,
            live_state=live,
            size_bytes=size_of(run.folder),
            kept_because=_why_kept(run, live, store, behind, names_state=bool(state)),
        )
        for run, live in found
        if before is None or run.created < before
    ]


def choose_these(store: Store, names: Iterable[str]) -> list[Choice]:
    """The runs with these names or ids, all of which go; the name of a pipeline would say too little to delete by.

    Raises:
        RunNotFound: There is no such run.
        InvalidSetting: One is being executed.
    """
    found = {run.id: run for run in (store.run(name, may_be_pipeline=False) for name in names)}.values()
    for run in found:
        check_deletable(run, store=store)
    return [Choice(run=run, live_state=live_state(run, store=store), size_bytes=size_of(run.folder)) for run in found]


def _why_kept(run: Run, live: str, store: Store, behind: Mapping[str, str], *, names_state: bool) -> str:
    if is_held(store.engine, run.id):
        return "it is being executed"
    if run.state == State.PENDING and now() - run.created < _STARTS_WITHIN:
        return "it is about to start"
    if run.id in behind:
        return f"{behind[run.id]} comes from it"
    if live in RESUMABLE and run.is_repeatable and not names_state:
        return f"it can be resumed; with --state {live.lower()} it goes too"
    return ""


def served_runs(store: Store) -> dict[str, str]:
    """What is served from each run: the model with its version, by the run's id.

    Raises:
        InvalidData: A history of deployments cannot be read, so that a run behind a served model could be any.
    """
    found = {}
    for folder in _base_paths(store):
        try:
            history = (folder / HISTORY_NAME).read_text()
            version, entries = last_published(history), parse_history(history)
        except (FileNotFoundError, NotADirectoryError):  # never deployed to
            continue
        except (OSError, ValueError) as error:
            raise InvalidData(
                f"{folder / HISTORY_NAME}, which says from which run the served model is, cannot be read: {error}; "
                "restore it from a copy, or move it away if nothing of it is served"
            ) from error
        for entry in entries:
            if version is not None and entry["version"] == version and entry.get("run"):
                found[str(entry["run"])] = f"version {version} of {folder.name}, which is served,"
    return found


def _base_paths(store: Store) -> Iterable[Path]:
    models = store.home / "models"
    given = (run.parameters.get("serving") for run, _ in find_runs(store))
    named = [each["base_path"] for each in given if isinstance(each, Mapping) and each.get("base_path")]
    own = sorted(models.iterdir()) if models.is_dir() else []
    return dict.fromkeys([*own, *(Path(each) for each in named if isinstance(each, str))])


def size_of(path: Path) -> int:
    """Bytes of a file or of all below a folder; what vanishes meanwhile counts nothing."""
    if path.is_symlink() or not path.is_dir():
        try:
            return path.lstat().st_size
        except OSError:
            return 0
    return sum(map(size_of, _children(path)))


def _children(folder: Path) -> Iterator[Path]:
    try:
        yield from list(folder.iterdir())
    except OSError:
        return
