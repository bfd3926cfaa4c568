"""What reads and writes elsewhere does so in each storage: preparing data, finding the champion, uploading modules."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.components.prepare_data.test_references import write_shards
from tests.components.storage import servers

from trainwright_components.datasets.schema import Schema
from trainwright_components.evaluate.champion import Champion, Served, find_champion
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.saved_models.layout import written_schema
from trainwright_components.saved_models.loaded import LoadedModel, LoadingFailed
from trainwright_components.storage.locations import publish, storage_of
from trainwright_components.user_module.module import load_module
from trainwright_pipelines.requests.uploads import upload_modules


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, servers.serving(request.param, patch) as bucket:
        yield bucket


def upload(folder: Path, location: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage_of(location).write(f"{location}/{path.relative_to(folder).as_posix()}", path, replace=True)


def test_a_table_is_prepared_like_a_local_one(bucket: str, tabular_csv: Path, tmp_path: Path) -> None:
    storage_of(bucket).write(f"{bucket}/wine.csv", tabular_csv, replace=True)
    settings = PrepareSettings(label="cultivar")
    there = prepare_data(f"{bucket}/wine.csv", tmp_path / "there", settings)
    here = prepare_data(tabular_csv, tmp_path / "here", settings)
    assert there.schema == here.schema
    assert there.statistics == here.statistics


def test_a_folder_of_images_is_prepared(bucket: str, tmp_path: Path) -> None:
    digits = load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images[:60], digits.target[:60] % 2, strict=True)):
        folder = tmp_path / "images" / ("odd" if digit else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{number}.png")
    upload(tmp_path / "images", f"{bucket}/images")
    prepared = prepare_data(f"{bucket}/images", tmp_path / "dataset", PrepareSettings())
    assert prepared.schema.class_names == ("even", "odd")
    assert sum(numbers.rows for numbers in prepared.statistics.splits.values()) == 60


def test_records_are_copied_from_where_tensorflow_reads_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "shards", 6)
    with servers.serving("s3", monkeypatch) as bucket:
        upload(tmp_path / "shards", f"{bucket}/shards")
        settings = PrepareSettings(label="y", reference_above_mb=0)
        prepared = prepare_data(f"{bucket}/shards", tmp_path / "dataset", settings)
    assert not prepared.is_referenced
    assert sum(numbers.rows for numbers in prepared.statistics.splits.values()) == 300


def test_the_champion_is_found_and_answers(bucket: str, tabular_saved_model: Path) -> None:
    base_path = f"{bucket}/served/wine"
    assert find_champion(base_path) is None
    for version in ("2", "10"):
        publish(tabular_saved_model, f"{base_path}/{version}", marker="saved_model.pb")
    served = find_champion(base_path)
    assert served == Served(version="10", location=f"{base_path}/10")
    schema = written_schema(tabular_saved_model)
    assert isinstance(schema, Schema)
    assert written_schema(served.location) == schema
    champion = Champion.load(served.location, schema)
    assert (champion.version, champion.value_names) == ("10", schema.class_names)
    columns = {
        name: np.array([["strong"]] if spec.dtype.name == "string" else [[1]]).reshape(1, *spec.shape[1:])
        for name, spec in champion.signature.inputs.items()
    }
    local = LoadedModel.load(tabular_saved_model).signatures["serving_default"]
    for name, answer in champion.signature.answer(columns).items():
        np.testing.assert_array_equal(answer, local.answer(columns)[name])


def test_a_model_that_is_not_there_cannot_be_loaded(bucket: str) -> None:
    with pytest.raises(LoadingFailed, match="there is no file"):
        LoadedModel.load(f"{bucket}/nothing")


def test_a_module_is_imported_from_where_it_was_uploaded(bucket: str, tmp_path: Path) -> None:
    module = tmp_path / "model.py"
    module.write_text("def build_model(context): return 7\n")
    uri = upload_modules({"module": module}, f"{bucket}/root")["module"]
    with storage_of(uri).open(uri) as file:
        (tmp_path / "arrived.py").write_bytes(file.read())
    assert load_module(tmp_path / "arrived.py").build_model(None) == 7  # type: ignore[arg-type]  # not looked at
