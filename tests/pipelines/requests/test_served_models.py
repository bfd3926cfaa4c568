"""What is known of deployed models: which version is meant, and the example that belongs to it."""

import json
from pathlib import Path

import pytest

from trainwright_components.deploy_serving.history import golden_requests_file
from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.operation.control import add_model
from trainwright_pipelines.requests.served_models import Example, ServedModel, find_served_model


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two versions of `line`, y = version * x, whose server does not run."""
    base_path = tmp_path / "elsewhere" / "line"
    for version in (2, 10):
        (base_path / str(version)).mkdir(parents=True)
        file = golden_requests_file(base_path, version)
        file.parent.mkdir(exist_ok=True)
        shout = {"signature_name": "other", "inputs": {"t": ["a", "b"]}, "outputs": {"upper": ["A"], "size": [1]}}
        times = {"inputs": {"x": [3, 4]}, "outputs": {"y": [3 * version, 4 * version]}}
        file.write_text(f"{json.dumps(shout)}\n{json.dumps(times)}\n")
    add_model(tmp_path, "line", base_path)
    return tmp_path


def test_the_newest_version_is_the_served_one_while_no_server_runs(home: Path) -> None:
    assert find_served_model(home, "line").folder == home / "elsewhere" / "line" / "10"


def test_the_example_and_its_answer_belong_to_the_version(home: Path) -> None:
    assert find_served_model(home, "line").example() == Example(row={"x": 3}, expected=30)
    assert find_served_model(home, "line", version=2).example() == Example(row={"x": 3}, expected=6)


def test_a_signature_has_examples_of_its_own(home: Path) -> None:
    example = find_served_model(home, "line").example("other")
    assert example == Example(row={"t": "a"}, expected={"upper": "A", "size": 1})


def test_what_is_not_there_is_told_with_what_is(home: Path) -> None:
    served = find_served_model(home, "line")
    with pytest.raises(InvalidSetting, match="no example for signature 'third' in"):
        served.example("third")
    with pytest.raises(InvalidSetting, match="no example is kept for version 3 of 'line'; give a row instead"):
        ServedModel(name="line", base_path=served.base_path, version=3).example()
    with pytest.raises(InvalidSetting, match="model 'line' has no version 3; there is: 2, 10"):
        find_served_model(home, "line", version=3)
    with pytest.raises(InvalidSetting, match="no model 'lime' was deployed here; did you mean 'line'"):
        find_served_model(home, "lime")
    with pytest.raises(InvalidSetting, match="none is yet: trainwright run train_and_deploy"):
        find_served_model(home / "empty", "line")


def test_a_model_whose_versions_were_removed_is_told(home: Path) -> None:
    for version in ("2", "10"):
        (home / "elsewhere" / "line" / version).rmdir()
    with pytest.raises(InvalidSetting, match="model 'line' has no version any more"):
        find_served_model(home, "line")
