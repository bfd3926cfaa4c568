"""A run's parameters: from file, settings and defaults; paths become absolute; modules are looked at."""

import re
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidModule, InvalidSetting
from trainwright_components.saved_models.versions import check_base_path
from trainwright_pipelines.requests.finding import DEFINITIONS, PipelineSource
from trainwright_pipelines.requests.inputs import fill_local_paths, gather_values
from trainwright_pipelines.requests.locations import absolute_locations, find_module, find_source, shipped_modules
from trainwright_pipelines.requests.module_outline import check_module_text, outline_module
from trainwright_pipelines.requests.parameters import Parameter

SHIPPED = PipelineSource(name="train_and_deploy", file=DEFINITIONS / "train_and_deploy.py", function="train_and_deploy")
OWN = PipelineSource(name="own", file=Path("own.py"), function="own")
DECLARED = {
    name: Parameter(name=name, type=kind, is_optional=True, default=default)
    for name, kind, default in (
        ("source", "STRING", "digits"),
        ("module", "STRING", "digits"),
        ("params", "STRUCT", {}),
        ("training", "STRUCT", {}),
        ("model_name", "STRING", "digits"),
        ("serving", "STRUCT", {}),
        ("options", "STRUCT", {}),
    )
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text("DEFAULT_PARAMS = {'units': 8}\n\n\ndef build_model(context): ...\n")
    (folder / "data.csv").write_text("a\n1\n")
    (folder / "params.yaml").write_text(
        "source: data.csv\nmodule: model.py\nmodel_name: mine\nserving: {base_path: served}\n"
        "params: {units: 16}\noptions: {schema_file: data.csv}\n"
    )
    return folder


def test_paths_of_a_file_start_at_its_folder_and_those_of_settings_here(project: Path, tmp_path: Path) -> None:
    values = gather_values(
        SHIPPED,
        DECLARED,
        settings=[("serving.base_path", "elsewhere"), ("params.units", "32")],
        params_file=project / "params.yaml",
        folder=tmp_path,
    )
    assert values == {
        "source": str(project / "data.csv"),
        "module": str(project / "model.py"),
        "model_name": "mine",
        "serving": {"base_path": str(tmp_path / "elsewhere")},
        "params": {"units": 32},
        "options": {"schema_file": str(project / "data.csv")},
    }


def test_what_is_written_as_a_relative_path_and_is_there_is_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (project / "data").mkdir()
    written = {"a": "./data.csv", "b": "../project/data", "c": "~/project/data.csv", "d": {"e": ["./data.csv", "data"]}}
    data, folder = str(project / "data.csv"), str(project / "data")
    found = {"a": data, "b": folder, "c": data, "d": {"e": [data, "data"]}}
    assert absolute_locations(written, base=project, must_exist=True) == found
    kept: dict[str, object] = {
        "a": "data",
        "b": "data.csv",
        "c": "./out.csv",
        "d": "./data.csv,./data",
        "e": "../",
        "f": "~nobody/x",
        "g": ".",
    }
    kept |= {"h": "./data.csv\0", "i": "./" + "x" * 5000, "j": ["data", 1, None, {"k": 2}]}
    assert absolute_locations(kept, base=project, must_exist=False) == {**kept, "e": str(tmp_path)}


def test_the_default_module_is_the_shipped_files_path(tmp_path: Path) -> None:
    values = gather_values(SHIPPED, DECLARED, settings=[], params_file=None, folder=tmp_path)
    assert values == {"module": str(shipped_modules()["digits"])}


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", "wine"), ("source", "data.csv"), ("module", "model.py"), ("module", "tabular_classifier")],
)
def test_only_the_bundled_example_goes_without_a_name(name: str, value: str, project: Path) -> None:
    def gather(*more: tuple[str, str], source: PipelineSource = SHIPPED) -> dict[str, object]:
        return gather_values(source, DECLARED, settings=[(name, value), *more], params_file=None, folder=project)

    with pytest.raises(InvalidSetting, match=f"{name} is .*{value}.*--set model_name=NAME"):
        gather()
    assert gather(("model_name", "digits"))["model_name"] == "digits"
    assert "model_name" not in gather(source=OWN)


def test_the_bundled_example_may_be_named_in_full(project: Path) -> None:
    settings = [("source", "digits"), ("module", str(shipped_modules()["digits"]))]
    assert gather_values(SHIPPED, DECLARED, settings=settings, params_file=None, folder=project) == dict(settings)


def test_a_pipeline_of_the_users_own_may_mean_something_else_by_source(tmp_path: Path) -> None:
    values = gather_values(OWN, DECLARED, settings=[("source", "the web")], params_file=None, folder=tmp_path)
    assert values["source"] == "the web"
    with pytest.raises(InvalidSetting, match="no data at"):
        gather_values(SHIPPED, DECLARED, settings=[("source", "the web")], params_file=None, folder=tmp_path)


def test_models_are_served_from_the_home_unless_told(tmp_path: Path) -> None:
    assert fill_local_paths({}, DECLARED, tmp_path)["serving"] == {"base_path": str(tmp_path / "digits")}
    assert fill_local_paths({"model_name": "m"}, DECLARED, tmp_path)["serving"] == {"base_path": str(tmp_path / "m")}
    assert fill_local_paths({"serving": {"base_path": "/x"}}, DECLARED, tmp_path) == {"serving": {"base_path": "/x"}}
    assert fill_local_paths({}, {}, tmp_path) == {}


@pytest.mark.parametrize("text", ["digits", "gs://bucket/data.csv", "s3://bucket/x"])
def test_names_and_uris_are_left_alone(text: str, tmp_path: Path) -> None:
    assert find_source(text, base=tmp_path) == text


def test_patterns_become_absolute(tmp_path: Path) -> None:
    assert find_source("data/*.csv", base=tmp_path) == str(tmp_path / "data/*.csv")


@pytest.mark.parametrize("text", ["gs://bucket/model.py", "package.module"])
def test_uris_and_dotted_names_are_left_to_those_who_can_open_them(text: str, tmp_path: Path) -> None:
    assert find_module(text, base=tmp_path) == text


def test_a_shipped_module_comes_before_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert find_module("digits", base=tmp_path) == str(shipped_modules()["digits"])
    assert find_module("./digits", base=tmp_path) == str(tmp_path / "digits")


def test_absolute_paths_stay(project: Path, tmp_path: Path) -> None:
    values = {"source": str(project / "data.csv"), "epochs": 3, "label": "a"}
    assert absolute_locations(values, base=tmp_path, must_exist=True) == values


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import build_model\n",
        "from elsewhere import *\n",
        "if True:\n    def build_model(context): ...\n",
        "build_model = make()\n",
        "def train(context): ...\n",
        "def build_model(context): ...\nDEFAULT_PARAMS = dict(units=3)\n",
    ],
)
def test_what_cannot_be_ruled_out_is_let_through(text: str, tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(text)
    check_module_text(file, {"anything": 1})


def test_a_folder_is_looked_at_through_its_entry_file(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("x = 1\n")
    assert outline_module(tmp_path).file == tmp_path / "__init__.py"
    with pytest.raises(InvalidModule, match="has no build_model"):
        check_module_text(tmp_path, {})


def test_the_shipped_modules_pass(tmp_path: Path) -> None:
    for name, file in shipped_modules().items():
        outline = outline_module(file)
        assert outline.default_params, name
        check_module_text(file, outline.default_params)


def test_the_folder_of_a_model_starts_where_the_setting_was_written(project: Path, tmp_path: Path) -> None:
    for text, found in (("./project", str(project)), ("project", "project"), ("org/name", "org/name")):
        assert absolute_locations({"model": text}, base=tmp_path, must_exist=True) == {"model": found}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {epochs: 2}\nserving: {}\ntraining: {seed: 1}\n", "the mapping in line 1 has 'training' twice"),
        ("training.epochs: 2\ntraining: {seed: 1}\n", "'training.epochs' and 'training' are both given"),
        ("params: {units: .nan}\n", "'params.units' must be a number, neither NaN nor infinite"),
        ("params: &all {units: *all}\n", "'params.units' is a part of itself"),
        ("training: !!python/object:os.system {}\n", "is not valid YAML: could not determine a constructor"),
        ("{" * 3000, "is not valid YAML: it is nested too deeply"),
        ("source: yes\n", "'source' must be a string, got True; put it in quotes"),
    ],
)
def test_a_file_that_would_lose_or_change_values_is_refused(content: str, message: str, project: Path) -> None:
    (project / "params.yaml").write_text(content)
    with pytest.raises(InvalidSetting, match=re.escape(message)):
        gather_values(SHIPPED, DECLARED, params_file=project / "params.yaml", folder=project)


def test_a_dotted_name_in_a_file_keeps_the_type_that_is_written(project: Path) -> None:
    (project / "params.yaml").write_text("options.name: 'no'\noptions.size: '5'\noptions.rate: 1e-3\n")
    values = gather_values(SHIPPED, DECLARED, params_file=project / "params.yaml", folder=project)
    assert values["options"] == {"name": "no", "size": "5", "rate": 0.001}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~nobody-here/x", "there is no home folder for the ~ of"),
        ("x" * 5000, "cannot look at .*: File name too long"),
        ("broken.csv", "broken.csv is a link to nowhere.csv, where nothing is"),
        ("a\0b", "a path has no null character"),
        ("file:///nowhere/x.csv", "no data at /nowhere/x.csv"),
    ],
)
def test_a_path_that_cannot_be_one_is_refused(value: str, message: str, project: Path) -> None:
    (project / "broken.csv").symlink_to("nowhere.csv")
    with pytest.raises(InvalidSetting, match=message):
        gather_values(SHIPPED, DECLARED, settings=[("source", value), ("model_name", "m")], folder=project)


def test_a_base_path_that_cannot_be_made_is_told_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "link/below", "file/below"):
        with pytest.raises(
            InvalidSetting, match=f"cannot be made: {tmp_path / name.partition('/')[0]} is not a folder"
        ):
            check_base_path(tmp_path / name)
    with pytest.raises(InvalidSetting, match="cannot be written to: File name too long"):
        check_base_path(tmp_path / ("x" * 300))
    check_base_path(tmp_path / "new" / "er")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
