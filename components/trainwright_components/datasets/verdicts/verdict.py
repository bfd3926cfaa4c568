"""What is said about a column, about rows or about settings. Writes verdicts.json."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright_components.datasets.schema import FORMAT_VERSION
from trainwright_components.files import write_whole

VERDICTS_FILE = "verdicts.json"
WAYS_TO_SPLIT = ("data.key_column", "data.time_column")  # of which there can be one


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Something to do.

    Args:
        text: What that does.
        settings: Values of settings by dotted name, as `--set` takes them; empty where no setting does it.
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """The settings as `trainwright new` and `trainwright run` take them."""
        return tuple(part for name, value in self.settings.items() for part in ("--set", f"{name}={_written(value)}"))

    def __str__(self) -> str:
        return f"{self.text}: {shlex.join(self.options)}" if self.settings else self.text


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What looks wrong.

    Args:
        kind: What it is, as the check calls it that said it.
        columns: What it is about; empty for rows and settings.
        finding: A sentence with the evidence.
        evidence: The numbers in it, by name.
        advice: What to do, the best first.
        is_left_out: Whether the column is not a feature because of this.
    """

    kind: str
    finding: str
    columns: tuple[str, ...] = ()
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()
    is_left_out: bool = False

    def __str__(self) -> str:
        about = f" {name_columns(self.columns)}" if self.columns else ""
        advice = "; or ".join(map(str, self.advice))  # whose options are copied: only its first letter may change
        return f"{self.kind}{about}: {self.finding}. {advice[:1].upper()}{advice[1:]}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """As it stands in verdicts.json and in what `--json` prints."""
        advice = [{"text": each.text, "options": list(each.options)} for each in self.advice]
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "finding": self.finding,
            "evidence": dict(self.evidence),
            "advice": advice,
            "is_left_out": self.is_left_out,
        }


def join_advice(verdicts: Iterable[Verdict]) -> Advice | None:
    """The first advice of each as one, as far as they do not contradict each other; none where no setting helps."""
    settings: dict[str, Any] = {}
    for verdict in verdicts:
        for name, value in () if verdict.is_left_out or not verdict.advice else verdict.advice[0].settings.items():
            known = settings.get(name)
            if isinstance(known, list):
                settings[name] = [*dict.fromkeys([*known, *value])]
            elif isinstance(known, Mapping):
                settings[name] = {**known, **value}
            elif not (name in WAYS_TO_SPLIT and any(way in settings for way in WAYS_TO_SPLIT)):
                settings[name] = value
    used = {settings.get(way) for way in WAYS_TO_SPLIT}
    exclude = [name for name in settings.pop("data.exclude", ()) if name not in used]
    settings |= {"data.exclude": exclude} if exclude else {}
    return Advice(text="all of that", settings=settings) if settings else None


def save_verdicts(verdicts: Iterable[Verdict], dataset: Path) -> None:
    """Write verdicts.json into the folder `dataset`."""
    content = {"version": FORMAT_VERSION, "verdicts": [verdict.to_json() for verdict in verdicts]}
    write_whole(dataset / VERDICTS_FILE, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def name_columns(names: Sequence[str], *, limit: int = 5) -> str:
    """The names for a sentence: some of them when there are many."""
    listed = ", ".join(map(repr, names[:limit]))
    return f"{listed} and {len(names) - limit} more" if len(names) > limit else listed


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
