"""Every component folder has one shape: a library half without kfp, a thin KFP half, a README that lists its ports."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trainwright_components

PACKAGE = Path(trainwright_components.__file__).parent
FOLDERS = sorted(path.parent for path in PACKAGE.glob("*/component.py"))
EXPECTED = {
    "batch_predict",
    "check_evaluation",
    "deploy_serving",
    "evaluate",
    "export_savedmodel",
    "hyperparameter_tune",
    "prepare_data",
    "quantize_tflite",
    "train_distributed",
}

every_component = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    import importlib

    modules: dict[str, ModuleType] = {
        folder.name: importlib.import_module(f"trainwright_components.{folder.name}.component") for folder in FOLDERS
    }
    return {name: getattr(module, name) for name, module in modules.items()}


def test_all_components_are_there() -> None:
    assert {folder.name for folder in FOLDERS} == EXPECTED


def test_library_halves_import_without_kfp() -> None:
    names = [
        f"trainwright_components.{file.parent.name}.{file.stem}"
        for folder in FOLDERS
        for file in folder.glob("*.py")
        if file.name not in ("component.py", "__init__.py")
    ]
    assert len(names) >= len(EXPECTED)
    run_python(f"import importlib, sys\nsys.modules['kfp'] = None\nfor n in {names!r}: importlib.import_module(n)")


@every_component
def test_kfp_name_is_the_folder_name(folder: Path, components: dict[str, Any]) -> None:
    assert components[folder.name].name == folder.name.replace("_", "-")


@every_component
def test_every_input_and_output_is_described(folder: Path, components: dict[str, Any]) -> None:
    spec = components[folder.name].component_spec
    missing = [
        name for ports in (spec.inputs, spec.outputs) for name, port in (ports or {}).items() if not port.description
    ]
    assert not missing


@every_component
def test_readme_lists_exactly_the_inputs_and_outputs(folder: Path, components: dict[str, Any]) -> None:
    spec = components[folder.name].component_spec
    text = (folder / "README.md").read_text()
    tables: dict[str, set[str]] = {}
    for heading in ("Inputs", "Outputs"):
        section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        assert section, f"{folder.name}/README.md has no section {heading}"
        tables[heading] = set(re.findall(r"^\| `(\w+)`", section.group(1), re.MULTILINE))
    assert tables == {"Inputs": set(spec.inputs or {}), "Outputs": set(spec.outputs or {})}
