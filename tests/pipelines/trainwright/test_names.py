"""The public names: declared, documented and importable together, and light until they are used."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trainwright
import trainwright.components
from trainwright_components import errors

ROOT = Path(__file__).parents[3]
README = (ROOT / "pipelines" / "README.md").read_text(encoding="utf-8")
HEAVY = {
    "click",
    "google.cloud.aiplatform",
    "keras",
    "kfp",
    "matplotlib",
    "numpy",
    "pandas",
    "sqlalchemy",
    "tensorflow",
}
FUNCTIONS = [name for name in trainwright.__all__ if inspect.isfunction(getattr(trainwright, name))]
NAMED_FOR_WHAT_THEY_RETURN = {"get_run", "list_runs", "row_width", "shipped_modules"}
CLASSES = [name for name in trainwright.__all__ if inspect.isclass(getattr(trainwright, name))]


def imported_for_types(module: Any) -> dict[str, str]:
    """What a type checker sees of a module: names, and where they are from."""
    block = next(each for each in ast.parse(Path(module.__file__).read_text()).body if isinstance(each, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    found: dict[str, str] = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        found |= {alias.asname or alias.name: f"{line.module}:{alias.name}" for alias in line.names}
    return found


def where(found: Any) -> str:
    return f"{found.__module__}:{found.__name__}"


def test_a_type_checker_sees_the_names_that_there_are() -> None:
    declared = imported_for_types(trainwright)
    assert sorted(declared) == trainwright.__all__ == dir(trainwright)
    assert {name: where(getattr(trainwright, name)) for name in declared} == declared


def test_a_type_checker_sees_the_components_that_there_are() -> None:
    declared = imported_for_types(trainwright.components)
    folders = {path.parent.name for path in Path(errors.__file__).parent.glob("*/component.py")}
    assert set(declared) == set(trainwright.components.__all__) == set(dir(trainwright.components)) == folders
    for name in folders:
        assert getattr(trainwright.components, name).name == name.replace("_", "-")


def test_the_readme_lists_exactly_the_public_names() -> None:
    table = README.partition("| names |")[2].partition("\n\n")[0]
    listed = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == trainwright.__all__


def test_every_error_of_the_tree_is_public() -> None:
    tree = {name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, Exception)}
    assert tree <= set(trainwright.__all__)
    assert all(name in (errors.__doc__ or "") for name in tree)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_typed_and_its_arguments_are_described(name: str) -> None:
    function = getattr(trainwright, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    document = inspect.getdoc(function) or ""
    assert document
    returns_nothing = signature.return_annotation in (None, "None")
    assert returns_nothing or "\nReturns:\n" in document or name in NAMED_FOR_WHAT_THEY_RETURN
    described = set(re.findall(r"^    (\w+): ", document.partition("Args:\n")[2].partition("\n\n")[0], re.MULTILINE))
    described |= set(re.findall(r"`(\w+)`", document))
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert parameter.name in described, f"{name} does not say what {parameter.name} is"


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_described(name: str) -> None:
    document = getattr(trainwright, name).__doc__
    assert document
    assert not document.startswith(f"{name}(")  # what a dataclass without one gets


def run_python(program: str) -> Any:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_package_or_an_error_imports_nothing_heavy() -> None:
    seconds, loaded = run_python(
        "import json, sys, time; start = time.process_time(); import trainwright\n"
        "took = time.process_time() - start; from trainwright import InvalidSetting, TrainwrightError\n"
        "print(json.dumps([took, list(sys.modules)]))"
    )
    assert HEAVY & set(loaded) == set()
    assert seconds < 0.05


def test_a_model_module_that_wants_its_context_brings_in_no_compiler() -> None:
    loaded = run_python("import json, sys; from trainwright import Context\nprint(json.dumps(list(sys.modules)))")
    assert {"kfp", "tensorflow", "sqlalchemy", "trainwright_pipelines.engine"} & set(loaded) == set()


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'trainwright' has no attribute 'trian'"):
        trainwright.trian  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from trainwright.components import no_such  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize(
    "text",
    [
        *ROOT.glob("*.md"),
        *(ROOT / "pipelines").rglob("*.md"),
        *(ROOT / "components").rglob("*.md"),
        *(ROOT / "notebooks").glob("*.ipynb"),
        *(ROOT / "pipelines" / "trainwright_pipelines" / "examples").glob("*.py"),
        *(ROOT / "pipelines" / "trainwright_pipelines" / "scaffold" / "templates").iterdir(),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_users_read_imports_public_names_only(text: Path) -> None:
    content = text.read_text(encoding="utf-8")
    assert re.findall(r"^[\s\"]*(?:from|import) trainwright_\S+", content, re.MULTILINE) == []
    for module, names in re.findall(r"^[\s\"]*from (trainwright\S*) import ([\w, ]+)", content, re.MULTILINE):
        public = {"trainwright": trainwright, "trainwright.components": trainwright.components}[module]
        assert set(names.replace(" ", "").split(",")) <= set(public.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_paths_as_text_too(name: str) -> None:
    parameters = inspect.signature(getattr(trainwright, name)).parameters.values()
    annotations = {each.name: str(each.annotation) for each in parameters}
    assert [each for each, kind in annotations.items() if "Path" in kind and "str" not in kind] == []
