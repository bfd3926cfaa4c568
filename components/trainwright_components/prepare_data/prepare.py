"""Turn a source of rows into a dataset: learn the columns, split, encode, describe. Knows nothing of KFP."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from trainwright_components.datasets.anomalies import find_anomalies, refuse_anomalies
from trainwright_components.datasets.chunks import Chunk, Column, Source, SourceTraits
from trainwright_components.datasets.encode import encode_chunk
from trainwright_components.datasets.hashing import FractionOf, key_fractions, row_fractions
from trainwright_components.datasets.history import HistoryRows
from trainwright_components.datasets.infer import Roles, check_columns, infer_schema
from trainwright_components.datasets.labelled import LabelledRows
from trainwright_components.datasets.profile import TableProfile
from trainwright_components.datasets.progress import ProgressLog
from trainwright_components.datasets.row_keys import MAX_EVALUATED_KEYS, MAX_KEYS, RowKeys
from trainwright_components.datasets.schema import SCHEMA_FILE, SPLITS, History, Label, Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.datasets.times import with_iso_times
from trainwright_components.datasets.verdicts.drift import find_drift
from trainwright_components.datasets.verdicts.evidence import Evidence, look_at_rows
from trainwright_components.datasets.verdicts.identities import find_identities
from trainwright_components.datasets.verdicts.table import judge
from trainwright_components.datasets.verdicts.verdict import Verdict, save_verdicts
from trainwright_components.datasets.writer import DatasetWriter, ReferenceWriter, choose_shards
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import whole_folder
from trainwright_components.prepare_data.given_files import open_rows
from trainwright_components.prepare_data.page import draw_page
from trainwright_components.prepare_data.references import choose_files, stored_schema
from trainwright_components.prepare_data.settings import PrepareSettings, check_kinds_of_features
from trainwright_components.prepare_data.splitters import RowSplitter, Splitter, WholeFilesSplitter
from trainwright_components.prepare_data.splitting import (
    RowFractions,
    check_split_columns,
    choose_splitter,
    describe_repeats,
    describe_split,
    refuse_empty_splits,
)
from trainwright_components.prepare_data.unchanged import UnchangedFiles
from trainwright_components.reports import Report
from trainwright_components.settings import given_settings
from trainwright_components.storage.addresses import join, normalize
from trainwright_components.storage.locations import is_folder, read_bytes

_SHOWN_EXAMPLES = 10

_log = logging.getLogger(__name__)


Writer = DatasetWriter | ReferenceWriter


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """What was prepared, and where it is.

    Args:
        how: How the rows were split.
        examples: Some of the first rows, as stored.
        verdicts: What looks wrong.
        is_referenced: Whether the rows stay in the files that they came in.
    """

    source: str
    dataset: Path
    schema: Schema
    statistics: Statistics
    how: str
    examples: Mapping[str, Column]
    verdicts: tuple[Verdict, ...] = ()
    is_referenced: bool = False

    def draw_report(self) -> Report:
        """The page of statistics with plots."""
        return draw_page(
            source=self.source,
            schema=self.schema,
            statistics=self.statistics,
            how=self.how,
            examples=self.examples,
            verdicts=self.verdicts,
        )


def prepare_data(
    source: str | Path, output: str | Path, settings: PrepareSettings | Mapping[str, Any] | None = None
) -> PreparedData:
    """Prepare `source` as a dataset in the folder `output`, which is whole or absent.

    Args:
        source: The name of a bundled set (`digits`), a file, a pattern, a folder of files or of images.
        output: The dataset's folder: TFRecords of each split, schema.json and statistics.json.
        settings: Label, splits, kinds of columns, as `PrepareSettings` or its fields by name; the defaults when
            absent.

    Returns:
        The dataset's folder, its schema and its statistics.

    Raises:
        InvalidSetting: A setting cannot be used with this source.
        InvalidData: The data cannot be read, or contradicts the settings or the expected schema.
    """
    settings = given_settings(PrepareSettings, settings)
    plan = _make_plan(str(source), settings)
    with whole_folder(Path(output), marker=SCHEMA_FILE) as folder:
        with plan.files.watched(), _open_writer(folder, plan) as writer:
            examples, keys = _write_rows(plan, writer, settings)
        statistics = writer.statistics or Statistics(splits={})
        verdicts = _judge(plan, writer)
        save_verdicts(verdicts, folder)
        if keys.split_by:
            keys.save(folder)
        refuse_empty_splits({split: numbers.rows for split, numbers in statistics.splits.items()}, settings)
    _warn_of_unlearnt_classes(plan.schema, statistics)
    return PreparedData(
        source=str(source),
        dataset=Path(output),
        schema=plan.schema,
        statistics=statistics,
        how=plan.how,
        examples=examples,
        verdicts=verdicts,
        is_referenced=plan.is_referenced,
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What the first pass over the rows settled."""

    rows: Source
    files: UnchangedFiles
    row_count: int
    schema: Schema
    evidence: Evidence
    splitter: Splitter
    is_referenced: bool
    how: str

    @property
    def expected_rows(self) -> Mapping[str, int]:
        counts = self.splitter.expected_rows()
        return {split: counts[split] for split in SPLITS if split in counts}


def _warn_of_unlearnt_classes(schema: Schema, statistics: Statistics) -> None:
    if schema.label is None or schema.label.kind == "number":
        return
    if schema.label.kind == "multilabel":
        _warn_of_constant_labels(schema.label, statistics)
        return
    counts = {split: numbers.column(schema.label.name).values for split, numbers in statistics.splits.items()}
    unlearnt = [
        name for name in schema.class_names if not counts["train"][name] and any(c[name] for c in counts.values())
    ]
    if unlearnt:
        _log.warning("classes without a training row, which no model can learn: %s", ", ".join(unlearnt))


def _judge(plan: _Plan, writer: Writer) -> tuple[Verdict, ...]:
    drift = find_drift(writer.accumulators)
    verdicts = judge(replace(plan.evidence, schema=plan.schema, drift=drift))
    for verdict in verdicts:
        log = _log.warning if verdict.is_left_out else _log.info
        log("%s", verdict)
    return verdicts


def _warn_of_constant_labels(label: Label, statistics: Statistics) -> None:
    train = statistics.splits["train"]
    named = zip(label.value_names, label.statistics_names, strict=True)
    constant = [name for name, column in named if 0 in train.column(column).values.values()]
    if constant:
        _log.warning("labels with one value in all training rows, which no model can learn: %s", ", ".join(constant))


def _make_plan(source: str, settings: PrepareSettings) -> _Plan:
    expected = load_expected_schema(settings.expected_schema) if settings.expected_schema else None
    rows = open_rows(source, settings, expected)
    traits = rows.traits
    files = UnchangedFiles(traits.read_from)
    roles = _choose_roles(settings, traits, expected)
    day_first = ""
    if settings.time_column:
        with files.watched():
            rows, day_first = with_iso_times(rows, settings.time_column, settings.day_first)
    if history := _choose_history(settings, roles.label, expected):
        history = replace(history, day_first=day_first)
        rows = HistoryRows(rows, history)
        traits = rows.traits
    if traits.columns:
        check_split_columns(settings, traits.columns, source=traits.name)
        check_columns(traits.columns, roles, source=traits.name)
    if settings.drop_unlabeled and roles.label_columns:
        rows = LabelledRows(rows, roles.label_columns)
    with files.watched():
        seen = _look_at(rows, settings, roles, expected)
    way, profile, roles = seen.way, seen.profile, seen.roles
    check_split_columns(settings, tuple(profile.columns), source=traits.name)
    schema = expected or infer_schema(profile, roles, source=traits.name)
    if expected:
        refuse_anomalies(find_anomalies(profile, expected, ignored=roles.exclude), source=traits.name)
    with files.watched():
        splitter, repeats = _settle(way, rows, has_classes=bool(schema.class_names))
    stored = None
    if isinstance(splitter, WholeFilesSplitter):
        stored = stored_schema(schema, profile, is_expected=expected is not None)
    unlabeled = rows.dropped if isinstance(rows, LabelledRows) else 0
    how = describe_split(settings, splitter, repeats=repeats)
    if repeats:
        _log.warning("%s: %s", traits.name, how)
    return _Plan(
        rows=rows,
        files=files,
        row_count=profile.rows,
        schema=replace(stored or schema, reading=traits.reading, history=history),
        evidence=replace(seen.evidence, unlabeled=unlabeled),
        splitter=splitter,
        is_referenced=stored is not None,
        how=how,
    )


def load_expected_schema(location: str) -> Schema:
    """The schema at `location`: a schema.json or a folder that holds one."""
    location = normalize(location)
    path = join(location, SCHEMA_FILE) if is_folder(location) else location
    try:
        return Schema.from_json(read_bytes(path).decode("utf-8"))
    except (InvalidData, InvalidSetting, UnicodeDecodeError) as error:
        raise InvalidSetting(f"data.expected_schema: {error}") from error


def _choose_roles(settings: PrepareSettings, traits: SourceTraits, expected: Schema | None) -> Roles:
    named = expected.label.columns if expected and expected.label else settings.label_columns
    if settings.label_columns not in ((), named):
        given, there = (", ".join(map(repr, names)) for names in (settings.label_columns, named))
        raise InvalidSetting(f"label is {given}, but the expected schema has {there}")
    if not named and traits.default_label:
        named = (traits.default_label,)
    if expected is None and settings.task == "none":
        named = ()
    elif not named and expected is None:
        listing = f" (there is {', '.join(traits.columns[:20])})" if traits.columns else ""
        raise InvalidSetting(
            f"label is not set: name the column of {traits.name} to predict{listing}, or set data.task=none for data "
            "without"
        )
    check_kinds_of_features(settings.kinds, labels=named, weight=settings.weight_column)
    by = (settings.key_column, settings.time_column, settings.split_column)
    exclude = dict.fromkeys([*settings.exclude, *traits.identifiers, *(name for name in by if name)])
    return Roles(
        label=named[0] if len(named) == 1 else "",
        labels=named if len(named) > 1 else (),
        label_separator=settings.label_separator,
        task=settings.task_of_label,
        weight=(expected.weight or "") if expected else settings.weight_column,
        exclude=tuple(exclude),
        kinds={**traits.kinds, **settings.kinds},
    )


def _choose_history(settings: PrepareSettings, label: str, expected: Schema | None) -> History | None:
    history = settings.history(label)
    if expected is None:
        return history
    if history not in (None, expected.history):
        given, there = (each.names if each else () for each in (history, expected.history))
        raise InvalidSetting(
            f"data.lags, data.windows and data.season make {', '.join(given)}, but the expected schema has "
            f"{', '.join(there) or 'none of them'}, or makes them of other columns; leave these settings out"
        )
    return expected.history


def _settle(way: Splitter | RowSplitter, rows: Source, *, has_classes: bool) -> tuple[Splitter, str]:
    if not isinstance(way, RowSplitter):
        return way, ""
    chosen = way.choose(rows.chunks, has_classes=has_classes)
    return chosen, describe_repeats(way, chosen)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the first pass over the rows saw."""

    way: Splitter | RowSplitter
    profile: TableProfile
    roles: Roles
    evidence: Evidence


def _look_at(rows: Source, settings: PrepareSettings, roles: Roles, expected: Schema | None) -> _Seen:
    """Read all rows once; twice where the first of them mislead about the columns that are no features.

    Rows that differ in their numbers alone are equal, so these columns have to be known before rows are compared.
    """
    if expected:
        return _look_once(rows, settings, replace(roles, left_out=expected.left_out))
    _, first = look_at_rows(rows.chunks(), roles, settings.given, _by_bits(roles), max_rows=1)
    seen = _look_once(rows, settings, replace(roles, left_out=find_identities(first)))
    left_out = find_identities(seen.evidence)
    return seen if left_out == seen.roles.left_out else _look_once(rows, settings, replace(roles, left_out=left_out))


def _look_once(rows: Source, settings: PrepareSettings, roles: Roles) -> _Seen:
    by_content = RowFractions(roles, seed=settings.seed)
    way = choose_files(rows, settings) or choose_splitter(settings, rows.traits, roles, by_content)
    chunks = _observed(rows, way, ProgressLog(_log, "looked at"))
    fraction_of = by_content if isinstance(way, RowSplitter) else _by_bits(roles)
    profile, evidence = look_at_rows(chunks, roles, settings.given, fraction_of)
    return _Seen(way=way, profile=profile, roles=roles, evidence=evidence)


def _by_bits(roles: Roles) -> FractionOf:
    return partial(row_fractions, seed=0, ignored=roles.others, by_bits=True)


def _observed(rows: Source, way: Splitter | RowSplitter, progress: ProgressLog) -> Iterator[Chunk]:
    for chunk in rows.chunks():
        yield chunk
        way.observe(chunk)
        progress.add(chunk.rows)


def _open_writer(folder: Path, plan: _Plan) -> Writer:
    if plan.is_referenced and isinstance(plan.splitter, WholeFilesSplitter):
        return ReferenceWriter(folder, plan.schema, files=plan.splitter.files)
    row_bytes = plan.rows.traits.size_bytes / plan.row_count
    shards = {
        split: choose_shards(count, size_bytes=round(row_bytes * count)) for split, count in plan.expected_rows.items()
    }
    return DatasetWriter(folder, plan.schema, shards=shards, unlabeled=plan.evidence.unlabeled)


def _write_rows(plan: _Plan, writer: Writer, settings: PrepareSettings) -> tuple[Mapping[str, Column], RowKeys]:
    """Write all rows; some of the first, encoded, are returned, and what tells which rows belong together."""
    examples: Mapping[str, Column] = {}
    by = next((name for name in ("key_column", "time_column") if getattr(settings, name)), "")
    keys: dict[str, list[tuple[int, float]]] = {}
    if by == "key_column":
        sizes, is_small = plan.expected_rows, plan.row_count <= MAX_KEYS
        keys = {split: [] for split in sizes if is_small or (split != "train" and sizes[split] <= MAX_EVALUATED_KEYS)}
    count = 0
    progress = ProgressLog(_log, "prepared", total=plan.row_count)
    for chunk in plan.rows.chunks():
        columns = encode_chunk(chunk, plan.schema)
        names = plan.splitter.assign(chunk)
        for split in plan.expected_rows:
            rows = np.flatnonzero(names == split)
            shards = writer.write(split, {name: column[rows] for name, column in columns.items()})
            if split in keys:
                found = key_fractions(chunk, settings.key_column, seed=settings.seed)[rows]
                keys[split] += zip(shards, found.tolist(), strict=True)
        examples = examples or {name: column[:_SHOWN_EXAMPLES] for name, column in columns.items()}
        progress.add(chunk.rows)
        count += chunk.rows
    plan.files.check_count(count, first=plan.row_count, name=plan.rows.traits.name)
    stored = {split: [key for _, key in sorted(found, key=itemgetter(0))] for split, found in keys.items()}
    return examples, RowKeys(split_by=by, column=getattr(settings, by) if by else "", keys=stored)
