"""`trainwright runs delete`: the runs that are named, or the old ones; `trainwright gc`: what nobody needs any more."""

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidSetting
from trainwright_components.home import find_home
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table
from trainwright_pipelines.cli.runs import STATES, opened_store

if TYPE_CHECKING:
    from trainwright_pipelines.engine.leftovers import Leftover
    from trainwright_pipelines.engine.retention import Choice
    from trainwright_pipelines.engine.store import Store

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_OLDEST = timedelta(days=36_500)  # a date has no year before 1
_AGE = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")


class Age(click.ParamType[timedelta]):
    """A number with a unit: 90m, 12h, 7d, 2w."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it."""
        if isinstance(value, timedelta):
            return value
        found = _AGE.fullmatch(str(value))
        if found is None:
            self.fail(f"an age is a number with m, h, d or w, such as 7d; got {value!r}", param, ctx)
        count, unit = float(found[1]), _UNITS[found[2]]
        if count > _OLDEST / unit:
            self.fail(f"an age is at most {_OLDEST.days}d; got {value!r}", param, ctx)
        return count * unit


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs delete RUN
trainwright runs delete RUN OTHER_RUN --yes
trainwright runs delete --older-than 7d --dry-run
trainwright runs delete --keep 20 --yes
trainwright runs delete --older-than 2w --state failed --json --yes
""",
)
@click.argument("run", nargs=-1)
@click.option("--older-than", type=Age(), metavar="AGE", help="Runs created longer ago than 90m, 12h, 7d or 2w.")
@click.option("--keep", type=click.IntRange(0), help="All runs but this many, the newest.")
@click.option("--pipeline", default="", help="Of the old ones, only runs of this pipeline.")
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Of the old ones, only in this state.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted, and what not and why.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(
    run: tuple[str, ...],
    older_than: timedelta | None,
    keep: int | None,
    pipeline: str,
    state: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete runs with their folders, by name, or all that are old; served models stay.

    Artifacts that other runs use stay too. Of the old ones (--older-than, --keep, or both) those stay that are being
    executed, that a served model comes from, and that can be resumed, unless --state names theirs.
    """
    selects = older_than is not None or keep is not None
    if bool(run) == selects:
        raise click.UsageError("name runs, or say which are old: --older-than 7d, --keep 20, or both")
    if not selects and (pipeline or state):
        raise click.UsageError("--pipeline and --state choose among old runs: give --older-than or --keep too")
    from trainwright_pipelines.engine.retention import choose_runs, choose_these

    with opened_store() as store:
        if selects:
            found = choose_runs(store, older_than=older_than, keep=keep or 0, pipeline=pipeline, state=state or "")
        else:
            found = choose_these(store, run)
        going = [each for each in found if not each.kept_because]
        if not as_json:
            _print_choices(found)
        _refuse_to_ask(is_asked=bool(going) and not yes and not dry_run, as_json=as_json)
        is_wanted = bool(going) and not dry_run and (yes or click.confirm(f"delete {_count(going)}?", err=True))
        freed = _delete_all(going, store) if is_wanted else 0
    if as_json:
        print_json(
            {
                "is_dry_run": dry_run,
                "deleted" if not dry_run else "would_delete": [_document(each) for each in going],
                "kept": [_document(each) for each in found if each.kept_because],
                "freed_bytes": freed,
            }
        )
    elif is_wanted:
        click.echo(f"deleted {_count(going)}: {_size(freed)} are free")


def _delete_all(going: Sequence["Choice"], store: "Store") -> int:
    """Delete the runs; how many bytes that freed."""
    from trainwright_pipelines.engine.retention import size_of
    from trainwright_pipelines.engine.runs import delete as delete_run

    for each in going:  # the newest first: an older one may have given it artifacts, which then go with that
        delete_run(each.run.id, store=store)
    return sum(each.size_bytes - size_of(each.run.folder) for each in going)


def _print_choices(found: Sequence["Choice"]) -> None:
    from trainwright_pipelines.views.wording import short_time

    if not found:
        click.echo("no such run")
        return
    rows = [
        (each.run.id, each.live_state, short_time(each.run.created), _size(each.size_bytes), _fate(each))
        for each in found
    ]
    print_table(rows, header=("RUN", "STATE", "CREATED", "SIZE", ""))


def _fate(each: "Choice") -> str:
    return f"stays: {each.kept_because}" if each.kept_because else "goes"


def _document(each: "Choice") -> dict[str, Any]:
    return {
        "run": each.run.id,
        "state": each.live_state,
        "created": each.run.created,
        "folder": each.run.folder,
        "size_bytes": each.size_bytes,
        **({"kept_because": each.kept_because} if each.kept_because else {}),
    }


def _count(going: Sequence[object]) -> str:
    return f"{len(going)} run{'' if len(going) == 1 else 's'}"


@click.command(
    "gc",
    cls=ExampleCommand,
    examples="""\
trainwright gc --dry-run
trainwright gc --yes
trainwright gc --unused-for 7d --json --yes
""",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--unused-for",
    type=Age(),
    default="30d",
    show_default=True,
    metavar="AGE",
    help="How long no step used an environment with packages, or a report of a fault lay there, that may go.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def collect(dry_run: bool, unused_for: timedelta, yes: bool, as_json: bool) -> None:
    r"""Remove what nobody needs any more; runs on record, their results and served models stay.

    \b
    runs          files of deleted runs, and what killed steps left in others
    containers    of steps whose run was killed
    cache         compiled pipelines whose source has changed
    environments  packages of lightweight components, half installed or long unused; installed again when needed
    models        versions that were being published when their process was killed
    temporary     folders of killed processes where temporary files go, and old reports of faults
    """
    from trainwright_pipelines.engine.leftovers import KINDS, find_leftovers, remove_leftover
    from trainwright_pipelines.requests.compiling import stale_entries

    home = find_home()
    with opened_store() as store:
        entries = stale_entries(home.compiled)
        found = list(find_leftovers(store, home, stale_entries=entries, unused_for=unused_for))
    if not as_json:
        _print_kinds(found, KINDS)
    _refuse_to_ask(is_asked=bool(found) and not yes and not dry_run, as_json=as_json)
    is_wanted = bool(found) and not dry_run and (yes or click.confirm("remove them?", err=True))
    removed = [each for each in found if remove_leftover(each)] if is_wanted else []
    freed = sum(each.size_bytes for each in removed)
    if as_json:
        kinds = {kind: sum(each.size_bytes for each in found if each.kind == kind) for kind in KINDS}
        document = {"is_dry_run": dry_run, "bytes": kinds, "freed_bytes": freed, "found": found}
        print_json(document)
    elif is_wanted:
        click.echo(f"removed {len(removed)}: {_size(freed)} are free")


def _print_kinds(found: Sequence["Leftover"], kinds: Sequence[str]) -> None:
    by_kind = defaultdict(list)
    for each in found:
        by_kind[each.kind].append(each)
    rows = [
        (kind, len(by_kind[kind]), _size(sum(each.size_bytes for each in by_kind[kind])), _reasons(by_kind[kind]))
        for kind in kinds
    ]
    print_table(rows, header=("KIND", "NUMBER", "SIZE", ""))


def _reasons(found: Sequence["Leftover"]) -> str:
    return "; ".join(dict.fromkeys(each.why for each in found))


def _refuse_to_ask(*, is_asked: bool, as_json: bool) -> None:
    if is_asked and as_json:
        raise InvalidSetting("--json does not ask: add --yes, or --dry-run")


def _size(size_bytes: int) -> str:
    from trainwright_pipelines.views.wording import short_size

    return short_size(size_bytes)
