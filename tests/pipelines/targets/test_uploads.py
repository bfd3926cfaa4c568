"""Modules uploaded by content: what is packed, where it goes, what is found to be one, and refusals."""

from pathlib import Path
from typing import Any, cast

import pytest

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.user_module.module import Context, load_module
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.uploads import (
    check_root,
    imported_parameters,
    local_modules,
    module_files,
    module_place,
    upload_modules,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my_model"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "layers").mkdir()
    (folder / "model.py").write_text(
        "from layers import blocks\n\ndef build_model(context):\n    return f'model with {blocks.x}'\n"
    )
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


def test_a_folder_arrives_as_a_folder_that_load_module_takes(folder: Path, storage: Any, tmp_path: Path) -> None:
    uri = upload_modules({"module": folder}, "gs://bucket/root")["module"]
    arrived = tmp_path / "arrived"
    for name, content in storage.objects.items():  # as KFP's launcher and Vertex' file system show them to a step
        file = arrived / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    module = load_module(arrived / uri.removeprefix("gs://"))
    assert module.build_model(cast(Context, None)) == "model with 1"
    names = sorted(name.removeprefix(f"{uri.removeprefix('gs://')}/") for name in storage.objects)
    assert names == ["layers/blocks.py", "model.py"], "nothing hidden, nothing compiled"


def test_a_place_depends_on_the_content_alone(folder: Path) -> None:
    before = module_place(folder)
    (folder / "model.py").touch()
    (folder / "__pycache__" / "model.pyc").write_bytes(b"new")
    assert module_place(folder) == before
    (folder / "layers" / "blocks.py").write_text("x = 2\n")
    assert module_place(folder) != before


def test_an_upload_that_broke_off_is_made_whole(folder: Path, storage: Any) -> None:
    storage.faults = [(200, {}), (403, {"error": {"code": 403, "message": "quota"}})]
    with pytest.raises(TargetUnavailable, match=r"403 .*quota"):
        upload_modules({"module": folder}, "gs://bucket")
    upload_modules({"module": folder}, "gs://bucket")
    assert len(storage.objects) == 2


def test_a_folder_of_data_is_refused(folder: Path) -> None:
    with (folder / "data.bin").open("wb") as file:
        file.truncate(101 << 20)
    with pytest.raises(InvalidSetting, match="my_model holds 101 MB, over 100 MB: move data out of it"):
        module_files(folder)


def test_imported_parameters_are_found_through_conditions_and_sub_pipelines(pipeline: CompiledPipeline) -> None:
    assert imported_parameters(pipeline.pipeline) == {"module", "second"}


def test_only_local_paths_of_imported_parameters_are_modules(pipeline: CompiledPipeline, module_file: Path) -> None:
    values = {"module": str(module_file), "second": "gs://bucket/b.py", "settings": {"file": str(module_file)}}
    assert local_modules(pipeline.pipeline, values) == {"module": module_file}
    saved_model = module_file.parent / "saved_model"
    saved_model.mkdir()
    assert local_modules(pipeline.pipeline, {"module": str(saved_model)}) == {}, "only code is uploaded"


@pytest.mark.parametrize(
    ("root", "given"), [("", "none is given"), ("minio://b/c", "got 'minio://b/c'"), ("gs://", "got")]
)
def test_a_root_elsewhere_is_refused_with_the_parameter(root: str, given: str) -> None:
    with pytest.raises(
        InvalidSetting, match=f"parameter 'module' is a local path.*but {given}.*--option pipeline_root"
    ):
        check_root(root, needed_for="module")


def test_what_storage_says_is_passed_on(module_file: Path, storage: Any) -> None:
    storage.faults = [(403, {"error": {"code": 403, "message": "no storage.objects.create access"}})]
    with pytest.raises(
        TargetUnavailable, match=r"cannot upload to gs://bucket/modules/\S+: 403 .*no storage.objects.create"
    ):
        upload_modules({"module": module_file}, "gs://bucket")
