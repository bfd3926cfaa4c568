"""Modules uploaded by content: what is packed, where it goes, what is found to be one, and refusals."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_pipelines.targets.protocol import CompiledPipeline
from trainwright_pipelines.targets.uploads import (
    imported_parameters,
    local_modules,
    pack_module,
    split_root,
    upload_modules,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my_model"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "layers").mkdir()
    (folder / "model.py").write_text("import layers.blocks\n")
    (folder / "layers" / "blocks.py").write_text("x = 1\n")
    (folder / "__pycache__" / "model.pyc").write_bytes(b"old")
    (folder / ".secret").write_text("key")
    return folder


def test_a_file_is_uploaded_as_it_is_under_its_content(module_file: Path, storage: Any) -> None:
    uris = upload_modules({"module": module_file}, "gs://bucket/root/")
    assert uris["module"].startswith("gs://bucket/root/modules/")
    assert uris["module"].endswith("/model.py")
    assert storage.objects == {uris["module"].removeprefix("gs://"): module_file.read_bytes()}


def test_the_same_content_is_uploaded_once_and_changed_content_beside_it(module_file: Path, storage: Any) -> None:
    first = upload_modules({"module": module_file}, "gs://bucket")
    assert upload_modules({"module": module_file}, "gs://bucket") == first
    assert len(storage.objects) == 1
    module_file.write_text("def build_model(context): return 1\n")
    assert upload_modules({"module": module_file}, "gs://bucket") != first
    assert len(storage.objects) == 2


def test_a_folder_becomes_an_archive_without_hidden_and_compiled_files(folder: Path) -> None:
    package = pack_module(folder)
    assert package.name == "my_model.zip"
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        assert archive.namelist() == ["my_model/layers/blocks.py", "my_model/model.py"]
        assert archive.read("my_model/layers/blocks.py") == b"x = 1\n"


def test_an_archive_depends_on_the_content_alone(folder: Path) -> None:
    before = pack_module(folder)
    (folder / "model.py").touch()
    (folder / "__pycache__" / "model.pyc").write_bytes(b"new")
    assert pack_module(folder) == before


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="is empty: there is nothing to upload"):
        pack_module(tmp_path)


def test_imported_parameters_are_found_through_conditions_and_sub_pipelines(pipeline: CompiledPipeline) -> None:
    assert imported_parameters(pipeline.spec) == {"module", "second"}


def test_only_local_paths_of_imported_parameters_are_modules(pipeline: CompiledPipeline, module_file: Path) -> None:
    values = {"module": str(module_file), "second": "gs://bucket/b.py", "settings": {"file": str(module_file)}}
    assert local_modules(pipeline.spec, values) == {"module": module_file}


@pytest.mark.parametrize(
    ("root", "given"), [("", "none is given"), ("minio://b/c", "got 'minio://b/c'"), ("gs://", "got")]
)
def test_a_root_elsewhere_is_refused_with_the_parameter(root: str, given: str) -> None:
    with pytest.raises(
        InvalidSetting, match=f"parameter 'module' is a local path.*but {given}.*--option pipeline_root"
    ):
        split_root(root, needed_for="module")


def test_what_storage_says_is_passed_on(module_file: Path, storage: Any) -> None:
    storage.faults = [(403, {"error": {"code": 403, "message": "no storage.objects.create access"}})]
    with pytest.raises(
        TargetUnavailable, match=r"cannot upload to gs://bucket/modules/\S+: 403 .*no storage.objects.create"
    ):
        upload_modules({"module": module_file}, "gs://bucket")
