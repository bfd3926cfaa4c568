"""What folds and intervals need to know of rows beside their columns: which belong together, which come later.

keys.json, beside the schema of a dataset that was split by a key or by time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from trainwright_components.files import write_whole

KEYS_FILE = "keys.json"
MAX_KEYS = 1_000  # rows; larger datasets are not dealt into folds
MAX_EVALUATED_KEYS = 1_000_000  # rows of a split that is not trained on


@dataclass(frozen=True, kw_only=True)
class RowKeys:
    """How the rows were split, where their features do not tell.

    Args:
        split_by: `key_column` or `time_column`; empty for neither.
        column: Its name.
        keys: Of each split, a number for each row in stored order, the same for the same key. Where there are more than
            `MAX_KEYS` rows, of those splits alone that are not trained on and have at most `MAX_EVALUATED_KEYS`.
    """

    split_by: str = ""
    column: str = ""
    keys: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def load(cls, dataset: Path) -> Self:
        """Of the dataset in the folder; without a file its rows belong together by their features."""
        file = dataset / KEYS_FILE
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else cls()

    def save(self, dataset: Path) -> None:
        """Write keys.json into the folder `dataset`."""
        write_whole(dataset / KEYS_FILE, json.dumps(asdict(self)) + "\n")
