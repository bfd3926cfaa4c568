"""A model module is found by file, folder or name, and says in the user's own terms what is wrong with it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.errors import InvalidModule, InvalidSetting, UserCodeError
from trainwright_components.user_module.module import Context, ModelModule, load_module, resolve_params

GOOD = "DEFAULT_PARAMS = {'units': 8, 'rate': 0.1, 'name': 'a', 'deep': False}\ndef build_model(context): return None\n"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_a_module(tmp_path: Path) -> None:
    module = load_module(written(tmp_path / "net.py", GOOD))
    assert (module.name, module.default_params["units"], dict(module.search_space)) == ("net", 8, {})


def test_an_edit_of_the_same_size_within_a_second_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "same_size.py"
    for number in (8, 9):
        file.write_text(f"def build_model(context):\n    return {number}\n")
        os.utime(file, (1, 1))
        assert load_module(file).build_model(None) == number  # type: ignore[arg-type]  # nobody looks at it
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_folder_with_model_py_imports_its_helpers_both_ways(tmp_path: Path) -> None:
    written(tmp_path / "net" / "own_layers.py", "WIDTH = 3\n")
    text = "import own_layers\nfrom .own_layers import WIDTH\nDEFAULT_PARAMS = {'w': WIDTH + own_layers.WIDTH}\n"
    written(tmp_path / "net" / "model.py", text + "def build_model(context): return None\n")
    assert load_module(tmp_path / "net").default_params["w"] == 6


def test_a_folder_with_init_is_a_package(tmp_path: Path) -> None:
    written(tmp_path / "net" / "parts.py", "WIDTH = 4\n")
    written(tmp_path / "net" / "__init__.py", "from .parts import WIDTH as w\ndef build_model(context): return w\n")
    assert load_module(tmp_path / "net").python_module.w == 4


def test_a_dotted_name_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "dotted_package" / "net.py", GOOD)
    written(tmp_path / "dotted_package" / "__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_module("dotted_package.net").location == file


def test_two_folders_with_helpers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for number in (1, 2):
        written(tmp_path / str(number) / "net" / "mixed_helper.py", f"VALUE = {number}\n")
        text = (
            "import mixed_helper\nDEFAULT_PARAMS = {'v': mixed_helper.VALUE}\ndef build_model(context): return None\n"
        )
        written(tmp_path / str(number) / "net" / "model.py", text)
    assert [load_module(tmp_path / n / "net").default_params["v"] for n in ("1", "2", "1")] == [1, 2, 1]


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    file = written(tmp_path / "net.py", GOOD)
    load_module(file)
    written(file, GOOD.replace("8", "16000"))
    assert load_module(file).default_params["units"] == 16000


@pytest.mark.parametrize("location", ["nowhere/net.py", "no_such_package.net", "nonsense name"])
def test_a_missing_module_is_refused(location: str) -> None:
    with pytest.raises(InvalidModule, match="there is no model module"):
        load_module(location)


def test_a_module_without_build_model_is_refused_with_the_name_that_was_meant(tmp_path: Path) -> None:
    file = written(tmp_path / "net.py", "def build_modell(context): return None\n")
    with pytest.raises(InvalidModule, match=r"net\.py has no build_model.*did you mean 'build_modell'"):
        load_module(file)


def test_a_folder_without_entry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModule, match=r"neither model\.py nor __init__\.py"):
        load_module(tmp_path)


def test_an_import_failure_shows_only_the_users_lines(tmp_path: Path) -> None:
    file = written(tmp_path / "net.py", "import json\nTABLE = json.loads('{')\n")
    with pytest.raises(UserCodeError, match=r"cannot be imported: JSONDecodeError") as caught:
        load_module(file)
    lines = caught.value.user_traceback.splitlines()
    assert lines[1:3] == [f'  File "{file}", line 2, in <module>', "    TABLE = json.loads('{')"]
    assert "json/decoder.py" not in caught.value.user_traceback
    assert lines[-1].startswith("json.decoder.JSONDecodeError")


def test_a_syntax_error_shows_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path / "net.py", "x = 1\ndef build_model(context)\n    return None\n")
    with pytest.raises(UserCodeError, match="line 2") as caught:
        load_module(file)
    assert f'File "{file}", line 2' in caught.value.user_traceback


def test_a_helper_beside_a_single_file_is_pointed_out(tmp_path: Path) -> None:
    written(tmp_path / "lonely_helper.py", "")
    with pytest.raises(UserCodeError, match=r"lonely_helper\.py lies beside it: give the folder"):
        load_module(written(tmp_path / "net.py", "import lonely_helper\n"))


def test_a_name_of_the_contract_that_is_no_function_is_refused(tmp_path: Path) -> None:
    module = load_module(written(tmp_path / "net.py", GOOD + "preprocess = 3\n"))
    with pytest.raises(InvalidModule, match=r"preprocess in .* must be a function, got int"):
        _ = module.has_preprocess


def test_a_copy_loads_like_the_original(tmp_path: Path) -> None:
    written(tmp_path / "net" / "own_layers.py", "WIDTH = 3\n")
    written(tmp_path / "net" / "__pycache__" / "x.pyc", "")
    written(tmp_path / "net" / "model.py", "from .own_layers import WIDTH\n" + GOOD)
    copy = load_module(tmp_path / "net").copy_to(tmp_path / "copy")
    assert load_module(copy).default_params["units"] == 8
    assert sorted(path.name for path in copy.iterdir() if path.name != "__pycache__") == ["model.py", "own_layers.py"]


def test_loading_leaves_one_entry_on_the_path(tmp_path: Path) -> None:
    written(tmp_path / "net" / "model.py", GOOD)
    for _ in range(3):
        load_module(tmp_path / "net")
    assert sys.path.count(str(tmp_path / "net")) == 1


class TestParameters:
    @pytest.fixture
    def module(self, tmp_path: Path) -> ModelModule:
        return load_module(written(tmp_path / "net.py", GOOD))

    def test_overrides_take_the_type_of_the_default(self, module: ModelModule) -> None:
        params = resolve_params(module, {"units": 32.0, "rate": 1})
        assert params == {"units": 32, "rate": 1.0, "name": "a", "deep": False}
        assert isinstance(params["units"], int)
        assert isinstance(params["rate"], float)

    def test_an_unknown_one_is_refused_with_the_one_that_was_meant(self, module: ModelModule) -> None:
        with pytest.raises(
            InvalidSetting, match=r"no parameter 'unit'; DEFAULT_PARAMS has: .*; did you mean 'units'\?"
        ):
            resolve_params(module, {"unit": 3})

    @pytest.mark.parametrize(
        ("name", "value"), [("units", "many"), ("units", 1.5), ("rate", "x"), ("deep", 1), ("units", True), ("name", 3)]
    )
    def test_one_of_another_type_is_refused(self, module: ModelModule, name: str, value: Any) -> None:
        with pytest.raises(InvalidSetting, match=f"params.{name} must be like its default"):
            resolve_params(module, {name: value})

    def test_the_context_cannot_be_changed(self, tmp_path: Path) -> None:
        context = Context(params={"a": 1}, schema=None, statistics=None, dataset=tmp_path)  # type: ignore[arg-type]  # not used
        with pytest.raises(TypeError):
            context.params["a"] = 2  # type: ignore[index]  # what users might try
