"""Importing a room loads neither TensorFlow nor KFP, unless its work begins with them.

The import contracts in pyproject.toml see imports within functions too. Most rooms have some, for when they are needed:
here is what they load before.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import trainwright_components
import trainwright_pipelines

PROGRAM = """
import importlib, json, sys
for name in json.load(sys.stdin):
    importlib.import_module(name)
    for library in {"tensorflow", "keras", "tf_keras", "kfp", "google.cloud.aiplatform"} & sys.modules.keys():
        sys.exit(f"{name} loads {library}")
"""

# What serves has TensorFlow in hand from its first line, and so have the checks of what is served and users' modules.
NEEDS_TENSORFLOW = re.compile(
    r"""
    trainwright_components\.(
        deploy_serving\.(deploy | proving | record)
        | model_server\.(batching\.(servable | setup) | (core | grpc_api | methods | models | rest)\..* | server)
        | saved_models\.golden
        | training\.drivers\.shared_state
        | user_module\.linear_first
    )
    | trainwright_pipelines\.examples\..*
    """,
    re.VERBOSE,
)
NEEDS_KFP = re.compile(r"trainwright_components\.\w+\.component|trainwright_pipelines\.definitions\.\w+")


def modules() -> list[str]:
    """All modules of both packages."""
    found = []
    for package in (trainwright_components, trainwright_pipelines):
        top = Path(str(package.__file__)).parent
        for file in sorted(top.rglob("*.py")):
            parts = file.relative_to(top.parent).with_suffix("").parts
            found.append(".".join(parts).removesuffix(".__init__"))
    return found


def first_heavy_import(names: list[str]) -> str:
    """What the first of the modules `names` to load one of the libraries says; empty if none does."""
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, input=json.dumps(names), capture_output=True, text=True, check=False).stderr


def test_modules_load_no_heavy_library_when_they_are_imported() -> None:
    names = [name for name in modules() if not NEEDS_TENSORFLOW.fullmatch(name) and not NEEDS_KFP.fullmatch(name)]
    assert len(names) > 350
    assert first_heavy_import(names) == ""


def test_components_and_pipelines_load_kfp_but_not_tensorflow() -> None:
    names = [name for name in modules() if NEEDS_KFP.fullmatch(name)]
    program = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    check = "assert 'kfp' in sys.modules and 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program + check], check=True)


def test_a_heavy_import_is_noticed() -> None:
    name = "trainwright_components.evaluate.component"
    assert first_heavy_import([name]) == f"{name} loads kfp\n"
