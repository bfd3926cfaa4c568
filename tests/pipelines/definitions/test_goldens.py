"""Each shipped pipeline compiles to the reviewed file; UPDATE_GOLDENS=1 rewrites them."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import trainwright_pipelines.definitions

DEFINITIONS = Path(trainwright_pipelines.definitions.__file__).parent
GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(path.stem for path in DEFINITIONS.glob("*.py") if not path.stem.startswith("_"))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", params=NAMES)
def pipeline(request: pytest.FixtureRequest) -> Any:
    module = importlib.import_module(f"trainwright_pipelines.definitions.{request.param}")
    return getattr(module, request.param)


@pytest.fixture(scope="module")
def compiled(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    from kfp import compiler

    path = tmp_path_factory.mktemp("compiled") / "spec.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return re.sub(r"^sdkVersion: .*\n", "", path.read_text(), flags=re.MULTILINE)


def test_compiles_to_the_golden_file(pipeline: Any, compiled: str) -> None:
    name = pipeline.pipeline_func.__name__
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDENS") == "1":
        golden.write_text(compiled)
    assert compiled == golden.read_text(), f"{golden.name} differs; UPDATE_GOLDENS=1 rewrites it"


def test_every_golden_file_has_a_pipeline() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(NAMES)


def test_file_name_is_the_pipeline_name(pipeline: Any, compiled: str) -> None:
    spec = yaml.safe_load(compiled)
    assert spec["pipelineInfo"]["name"].replace("-", "_") == pipeline.pipeline_func.__name__


def test_every_parameter_has_a_default_and_a_description(pipeline: Any) -> None:
    inputs = pipeline.component_spec.inputs
    assert {name for name, port in inputs.items() if not port.description} == set()
