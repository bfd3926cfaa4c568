"""What the columns of a table are, without preparing it and without TensorFlow."""

from dataclasses import replace
from pathlib import Path

from trainwright_components.datasets.infer import Roles, check_columns, infer_schema
from trainwright_components.datasets.profile import profile_chunks
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.opening import open_source
from trainwright_components.datasets.sources.values import ValueOptions

DESCRIBED_ROWS = 100_000


def describe_table(
    path: str | Path,
    roles: Roles,
    *,
    format_name: str = "",
    dialect: DialectOptions | None = None,
    values: ValueOptions | None = None,
    max_rows: int = DESCRIBED_ROWS,
) -> Schema:
    """The schema that prepare_data would find in the table at `path`, from about its first `max_rows` rows.

    Raises:
        InvalidSetting: There is no such file, or no column that `roles` names.
        InvalidData: The file cannot be read, or the label cannot be learnt.
    """
    source = open_source(str(path), format_name=format_name, dialect=dialect, values=values)
    traits = source.traits
    roles = replace(
        roles,
        label=roles.label or traits.default_label,
        exclude=(*roles.exclude, *traits.identifiers),
        kinds={**traits.kinds, **roles.kinds},
    )
    if traits.columns:
        check_columns(traits.columns, roles, source=traits.name)
    profile = profile_chunks(source.chunks(), max_rows=max_rows)
    return infer_schema(profile, roles, source=traits.name)
