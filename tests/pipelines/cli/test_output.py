"""Tables as a terminal shows them."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainwright_pipelines.cli.main import main
from trainwright_pipelines.cli.output import print_json, print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def shown(*rows: tuple[str, ...], **options: Any) -> list[str]:
    with contextlib.redirect_stdout(Terminal()) as terminal:
        print_table(rows, **options)
    return terminal.getvalue().splitlines()


def test_ids_stay_whole_and_a_long_last_column_is_cut_to_its_line() -> None:
    failed, good = ("train-and-deploy-1234", "FAILED", "a long reason " * 9), ("b", "SUCCEEDED", "")
    lines = shown(failed, good, header=("RUN", "STATE", ""), fold_last=False)
    assert len(lines) == 3
    assert "train-and-deploy-1234  " in lines[1]
    assert lines[1].rstrip().endswith("…")


def test_a_long_last_column_of_several_lines_is_one_line_without_a_terminal_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ("train-and-deploy-1234", "a reason\n  of two lines " * 20)
    print_table([row], header=("RUN", ""), fold_last=False)
    monkeypatch.delenv("COLUMNS")
    print_table([row], header=("RUN", ""), fold_last=False)
    _, narrow, _, wide = capsys.readouterr().out.splitlines()
    assert narrow.startswith("train-and-deploy-1234  a reason of two lines a reason")
    assert (len(narrow), narrow[-1]) == (60, "…")
    assert 60 < len(wide) <= 200
    assert len(shown(row, header=("RUN", ""), fold_last=False)) == 2


def test_a_description_is_folded() -> None:
    lines = shown(("name", "a long reason " * 9), header=("NAME", "WHAT IT IS"))
    assert len(lines) == 4
    assert "…" not in "".join(lines)


@dataclass
class Answer:
    scores: list[float]


def test_what_json_has_not_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"answer": Answer([0.5, float("nan")]), "rows": [{"é": float("-inf")}, ("x", 1, True, None)]})
    printed = capsys.readouterr().out
    found = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not valid JSON"))
    assert found == {"answer": {"scores": [0.5, None]}, "rows": [{"é": None}, ["x", 1, True, None]]}
    assert "é" in printed


def test_a_command_whose_streams_were_closed_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after `trainwright ... >&-`, or where a daemon starts it."""
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path))
    with monkeypatch.context() as closed:
        for name in ("stdin", "stdout", "stderr"):
            closed.setattr(sys, name, None)
        with pytest.raises(SystemExit) as ended:
            main(["runs", "list"])
        for each in (sys.stdin, sys.stdout, sys.stderr):
            each.close()
    assert ended.value.code == 0
