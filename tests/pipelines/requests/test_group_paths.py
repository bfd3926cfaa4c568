"""A path inside a group counts as a flat one: relative to the caller, by text and content, never sent elsewhere."""

from pathlib import Path

import pytest

import trainwright
from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.requests.finding import DEFINITIONS, PipelineSource
from trainwright_pipelines.requests.groups import GROUPS
from trainwright_pipelines.requests.inputs import gather_values
from trainwright_pipelines.requests.parameters import Parameter
from trainwright_pipelines.targets.lowering import refuse_local_paths

SHIPPED = PipelineSource(name="train_and_deploy", file=DEFINITIONS / "train_and_deploy.py", function="train_and_deploy")
DECLARED = {
    "source": Parameter(name="source", type="STRING", is_optional=True, default="digits"),
    **{name: Parameter(name=name, type="STRUCT", is_optional=True, default={}) for name in GROUPS},
}
PIPELINE = """
from kfp import dsl

from trainwright.components import prepare_data


@dsl.pipeline(name="prepare-only")
def prepare_only(source: str, label: str, data: dict = {}) -> None:
    prepare_data(source=source, label=label, data=data)
"""


def rows(first: int) -> str:
    return "x,y\n" + "".join(f"{first + number},{'ab'[number % 2]}\n" for number in range(40))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, first in (("train.csv", 0), ("test.csv", 1_000)):
        (tmp_path / name).write_text(rows(first))
    (tmp_path / "prepare.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_file_behind_a_path_in_a_group_counts_by_its_text_and_its_content(folder: Path) -> None:
    def is_cached(test_source: str) -> bool:
        settings = {"source": "train.csv", "label": "y", "data.test_source": test_source}
        ended = trainwright.run("prepare.py", settings, home=folder / "home")
        assert ended.is_successful, ended.tasks
        assert ended.run.parameters["data"] == {"test_source": str(folder / test_source)}
        return ended.task("prepare-data").is_cached

    assert not is_cached("test.csv")
    (folder / "test.csv").write_text(rows(2_000))
    assert [is_cached("test.csv"), is_cached("test.csv")] == [False, True]
    (folder / "same.csv").write_text(rows(2_000))
    assert not is_cached("same.csv")


def test_paths_in_groups_start_where_they_were_written(folder: Path) -> None:
    project = folder / "project"
    project.mkdir()
    (project / "schema.json").write_text("{}")
    (project / "test.csv").write_text(rows(0))
    (project / "params.yaml").write_text(
        "data: {test_source: test.csv, expected_schema: schema.json}\nserving: {base_path: models}\n"
    )
    settings = [("data.validation_source", "train.csv")]
    values = gather_values(SHIPPED, DECLARED, settings=settings, params_file=project / "params.yaml", folder=folder)
    assert values == {
        "data": {
            "test_source": str(project / "test.csv"),
            "expected_schema": str(project / "schema.json"),
            "validation_source": str(folder / "train.csv"),
        },
        "serving": {"base_path": str(project / "models")},
    }


@pytest.mark.parametrize("name", ["test_source", "validation_source", "expected_schema"])
def test_a_file_that_is_not_there_is_told_before_anything_runs(folder: Path, name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"tset\.csv; did you mean 'test\.csv'\?"):
        gather_values(SHIPPED, DECLARED, settings=[(f"data.{name}", "tset.csv")], params_file=None, folder=folder)


def test_a_local_path_in_a_group_is_refused_elsewhere(folder: Path) -> None:
    values = {"data": {"test_source": str(folder / "test.csv")}}
    with pytest.raises(InvalidSetting, match=r"test\.csv, which a remote step cannot read"):
        refuse_local_paths(values, here=folder, home=folder)
