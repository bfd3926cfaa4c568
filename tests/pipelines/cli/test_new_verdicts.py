"""`trainwright new` says what looks wrong, and takes each option that it advises."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tests.components.datasets.verdicts.tables import WRONG, healthy

from trainwright_components.datasets.verdicts.table import CHECKS
from trainwright_components.prepare_data.settings import PrepareSettings

AFTER_PREPARING = {"drift"}  # there are no splits yet


class Project:
    """Calls `trainwright new` on a table again and again."""

    def __init__(self, trainwright: Callable[..., Any], folder: Path, table: pd.DataFrame) -> None:
        self._trainwright, self._folder, self._count = trainwright, folder, 0
        table.to_csv(folder / "table.csv", index=False)

    def new(self, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The verdicts and the parameters."""
        self._count += 1
        target = self._folder / f"project{self._count}"
        source = ("--source", str(self._folder / "table.csv"), "--label", "y")
        outcome = self._trainwright("new", str(target), *source, "--json", *options)
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)["verdicts"], yaml.safe_load((target / "params.yaml").read_text())


def options_of(settings: Any) -> Iterator[str]:
    for name, value in settings.items():
        yield from ("--set", f"{name}={json.dumps(value)}")


def of_kind(verdicts: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [verdict for verdict in verdicts if verdict["kind"] == kind]


def test_every_kind_has_a_table() -> None:
    assert {kind for check in CHECKS for kind in check.kinds} == {*WRONG, *AFTER_PREPARING}


@pytest.mark.parametrize("kind", WRONG)
class TestEveryVerdict:
    def test_it_is_found_and_its_advice_can_be_taken(
        self, trainwright: Callable[..., Any], tmp_path: Path, kind: str
    ) -> None:
        wrong = WRONG[kind]
        project = Project(trainwright, tmp_path, wrong.table())
        given = tuple(options_of(wrong.settings))
        [verdict] = of_kind(project.new(*given)[0], kind)
        assert tuple(verdict["columns"]) == wrong.about
        assert verdict["advice"]
        assert verdict["evidence"]
        for advice in verdict["advice"]:
            if not advice["options"]:
                continue
            after, params = project.new(*given, *advice["options"])
            assert not of_kind(after, kind), advice
            PrepareSettings.from_mapping(params.get("data", {}), label="y")
            names = [option.partition("=")[0] for option in advice["options"][1::2]]
            assert all(name.partition(".")[2] in params[name.partition(".")[0]] for name in names)


def test_nothing_is_said_of_a_healthy_table(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    verdicts, _ = Project(trainwright, tmp_path, healthy()).new()
    assert verdicts == []


def test_all_advice_together_is_one_line(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    wrong = ("constant", "leak", "date or time")
    healthy().assign(**{k: v for each in wrong for k, v in WRONG[each].columns.items()}).to_csv(tmp_path / "t.csv")
    source = ("--source", str(tmp_path / "t.csv"), "--label", "y")
    outcome = trainwright("new", str(tmp_path / "p"), *source)
    assert "row index 'unnamed_1': it counts the 400 rows" in outcome.out
    together = 'all of that: --set data.time_column=day --set \'data.exclude=["outcome", "c"]\''
    assert together in outcome.out
