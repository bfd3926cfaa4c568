"""The table of checks."""

from trainwright_components.datasets.verdicts.batches import Batches
from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.drift import Drifts
from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.groups import Groups
from trainwright_components.datasets.verdicts.identities import Identities
from trainwright_components.datasets.verdicts.labels import Classes, MissingLabels
from trainwright_components.datasets.verdicts.leaks import Leaks
from trainwright_components.datasets.verdicts.moments import MomentColumns
from trainwright_components.datasets.verdicts.oddities import MixedTypes, Outliers
from trainwright_components.datasets.verdicts.rows import LikeRows
from trainwright_components.datasets.verdicts.variety import Cardinalities, Constants
from trainwright_components.datasets.verdicts.verdict import Verdict

CHECKS: tuple[type[Check], ...] = (
    Leaks,
    Identities,
    Groups,
    MomentColumns,
    Constants,
    Cardinalities,
    MixedTypes,
    Outliers,
    LikeRows,
    MissingLabels,
    Classes,
    Drifts,
    Batches,
)
"""In the order in which their verdicts are shown."""


_SAID_BETTER = {"high cardinality": ("group", "mixed types")}


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Everything that looks wrong; of a column that has too many values for one reason, that reason alone."""
    found = [verdict for check in CHECKS for verdict in check().judge(evidence)]
    said = {(verdict.kind, name) for verdict in found for name in verdict.columns}
    return tuple(
        verdict
        for verdict in found
        if not any((better, name) in said for better in _SAID_BETTER.get(verdict.kind, ()) for name in verdict.columns)
    )
