"""Tables as a terminal shows them."""

import io
import sys

import pytest

from trainwright_pipelines.cli.output import print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", Terminal())
    return sys.stdout


def test_ids_stay_whole_and_a_long_last_column_is_cut_to_its_line(terminal: Terminal) -> None:
    rows = [("train-and-deploy-1234", "FAILED", "a long reason " * 9), ("b", "SUCCEEDED", "")]
    print_table(rows, header=("RUN", "STATE", ""), fold_last=False)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert "train-and-deploy-1234  " in lines[1]
    assert "…" in lines[1]


def test_a_description_is_folded(terminal: Terminal) -> None:
    print_table([("name", "a long reason " * 9)], header=("NAME", "WHAT IT IS"))
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 4
    assert "…" not in terminal.getvalue()
