"""A model written as a name: on this machine the served version's folder, elsewhere refused."""

from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.model_server.operation.control import add_model
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import shipped_pipelines
from trainwright_pipelines.requests.named_models import find_named_models, refuse_named_models


@pytest.fixture(scope="module")
def batch_score(tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    return load_pipeline(shipped_pipelines()["batch_score"], tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        (tmp_path / "models" / "digits" / version).mkdir(parents=True)
    add_model(tmp_path, "digits", tmp_path / "models" / "digits")
    return tmp_path


def find(model: str, pipeline: CompiledPipeline, home: Path) -> str:
    found = find_named_models({"model": model, "source": "s"}, pipeline.pipeline, home=home, folder=home / "here")
    assert found["source"] == "s"
    return str(found["model"])


def test_a_name_becomes_the_served_versions_folder(batch_score: CompiledPipeline, home: Path) -> None:
    (home / "here" / "digits").mkdir(parents=True)
    assert find("digits", batch_score, home) == str(home / "models" / "digits" / "2")


def test_a_folder_without_a_slash_is_found_too(batch_score: CompiledPipeline, home: Path) -> None:
    (home / "here" / "exported").mkdir(parents=True)
    assert find("exported", batch_score, home) == str(home / "here" / "exported")


@pytest.mark.parametrize("text", ["gs://bucket/model", "/somewhere/model", "a/b"])
def test_paths_and_uris_stay(text: str, batch_score: CompiledPipeline, home: Path) -> None:
    assert find(text, batch_score, home) == text
    refuse_named_models({"model": text}, batch_score.pipeline)


def test_a_name_that_nothing_has_is_refused(batch_score: CompiledPipeline, home: Path) -> None:
    with pytest.raises(InvalidSetting, match="no model 'digts' was deployed here; did you mean 'digits'"):
        find("digts", batch_score, home)


def test_a_name_is_refused_elsewhere(batch_score: CompiledPipeline) -> None:
    with pytest.raises(InvalidSetting, match="'model' is the name 'digits', which only this machine knows"):
        refuse_named_models({"model": "digits"}, batch_score.pipeline)
