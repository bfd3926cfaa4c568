"""What a person sees for bad input: one clear message, a suggestion where there is one, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainwright_pipelines.cli import main as main_module

BAD_LINES = [
    (["rnu"], "no command 'rnu'; did you mean 'run'?"),
    (["runs", "shwo"], "no command 'shwo'; did you mean 'show'?"),
    (["pipelines", "train_and_deplyo"], "no pipeline 'train_and_deplyo'; did you mean 'train_and_deploy'?"),
    (["components", "evalute"], "no component 'evalute'; did you mean 'evaluate'?"),
    (["compile", "absent.yaml"], "no file absent.yaml"),
    (["compile", "absent.py:f"], "no file absent.py"),
    (["compile", "train_and_deploy", "--target", "moon"], "'moon' is not one of 'local', 'kubeflow', 'vertex'"),
    (["compile", "train_and_deploy", "--outptu", "x"], "--output"),
    (["new", "p", "--label", "y"], "--label needs --source"),
    (["new", "p", "--source", "x.csv"], "--source needs --label"),
]


@pytest.mark.parametrize(
    ("line", "message"), BAD_LINES, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_bad_input_is_told_in_one_message(trainwright: Callable, line: list[str], message: str) -> None:
    outcome = trainwright(*line)
    assert outcome.code in {1, 2}
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_an_error_is_a_document_when_json_is_asked_for(trainwright: Callable) -> None:
    outcome = trainwright("pipelines", "nonsense-name", "--json")
    document = json.loads(outcome.out)
    assert document["error"]["kind"] == "InvalidPipeline"
    assert "nonsense-name" in document["error"]["message"]


def test_an_unexpected_error_is_short_and_names_the_file_with_its_traceback(
    trainwright: Callable, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(main_module.cli, "main", fail)
    outcome = trainwright("doctor")
    assert outcome.code == 70
    assert "ZeroDivisionError: a bug of ours" in outcome.err
    assert "Traceback" not in outcome.err
    (file,) = (home / "errors").iterdir()
    assert str(file) in outcome.err
    assert "Traceback" in file.read_text()
