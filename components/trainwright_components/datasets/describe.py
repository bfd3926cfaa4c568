"""What the columns of a table are and what looks wrong, without preparing it and without TensorFlow."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trainwright_components.datasets.hashing import row_fractions
from trainwright_components.datasets.history import HistoryRows
from trainwright_components.datasets.infer import Roles, check_columns, infer_schema
from trainwright_components.datasets.labelled import LabelledRows
from trainwright_components.datasets.schema import History, Schema
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.datasets.times import with_iso_times
from trainwright_components.datasets.verdicts.evidence import Evidence, look_at_rows
from trainwright_components.datasets.verdicts.given import Given
from trainwright_components.datasets.verdicts.identities import find_identities

DESCRIBED_ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class Description:
    """What was found in a table.

    Args:
        empty: Columns without a value in any row that was looked at.
    """

    schema: Schema
    evidence: Evidence
    empty: tuple[str, ...] = ()


def describe_table(
    path: str | Path,
    roles: Roles,
    *,
    format_name: str = "",
    dialect: DialectOptions | None = None,
    values: ValueOptions | None = None,
    given: Given | None = None,
    drop_unlabeled: bool = False,
    history: History | None = None,
    max_rows: int = DESCRIBED_ROWS,
) -> Description:
    """The schema that prepare_data would find in the table at `path`, from about its first `max_rows` rows.

    Raises:
        InvalidSetting: There is no such file, or no column that `roles` names.
        InvalidData: The file cannot be read, or the label cannot be learnt.
    """
    source = open_source(str(path), format_name=format_name, dialect=dialect, values=values)
    traits = source.traits
    roles = replace(
        roles,
        label=roles.label or ("" if roles.labels else traits.default_label),
        exclude=(*roles.exclude, *traits.identifiers),
        kinds={**traits.kinds, **roles.kinds},
    )
    if history:
        source, day_first = with_iso_times(source, history.time, history.day_first)
        history = replace(history, label=roles.label, day_first=day_first)
        source = HistoryRows(source, history)
        traits = source.traits
    if traits.columns:
        check_columns(traits.columns, roles, source=traits.name)
    labelled = LabelledRows(source, roles.label_columns) if drop_unlabeled and roles.label_columns else None
    given = replace(given or Given(), kinds=roles.kinds)
    fraction_of = partial(row_fractions, seed=0, ignored=roles.others, by_bits=True)
    profile, evidence = look_at_rows((labelled or source).chunks(), roles, given, fraction_of, max_rows=max_rows)
    left_out = find_identities(evidence)
    schema = infer_schema(profile, replace(roles, left_out=left_out), source=traits.name)
    schema = replace(schema, history=history)
    unlabeled = labelled.dropped if labelled else 0
    evidence = replace(evidence, schema=schema, left_out=left_out, unlabeled=unlabeled)
    empty = tuple(name for name, column in profile.columns.items() if column.shape is None)
    return Description(schema=schema, evidence=evidence, empty=empty)
