"""Every command and snippet in the READMEs does what it says, in the order in which it stands."""

import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trainwright_components
from trainwright import shipped_modules

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "components" / "README.md").read_text(encoding="utf-8")
COMPONENTS = Path(trainwright_components.__file__).parent
IN_ORDER = (
    "prepare_data",
    "check_evaluation",
    "hyperparameter_tune",
    "train_distributed",
    "evaluate",
    "export_savedmodel",
    "quantize_tflite",
    "deploy_serving",
    "batch_predict",
)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def anchors(text: str) -> list[str]:
    """What GitHub calls the headings of a page in links."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


OWN_PIPELINES = blocks(README.partition("<!-- file: my_pipelines.py -->\n")[2], "python")[0]


def snippets(index: int) -> dict[str, str]:
    """The first (in a pipeline) or second (from Python) snippet of each component's README."""
    found = {}
    for name in IN_ORDER:
        use = (COMPONENTS / name / "README.md").read_text(encoding="utf-8").partition("\n## Use\n")[2]
        found[name] = blocks(use, "python")[index]
    return found


def write_customers(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 400
    table = pd.DataFrame(
        {
            "customer_id": np.arange(rows) // 2,
            "age": rng.integers(18, 80, rows),
            "city": rng.choice(["Bern", "Basel", "Lyon"], rows),
        }
    )
    table["churned"] = np.where(table["age"] + 20 * (table["city"] == "Bern") > 50, "yes", "no")
    table.to_csv(folder / "customers.csv", index=False)
    table.drop(columns="churned").head(30).to_csv(folder / "new_customers.csv", index=False)
    table.rename(columns={"churned": "target"}).drop(columns="customer_id").to_csv(folder / "my.csv", index=False)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    write_customers(tmp_path)
    (tmp_path / "model.py").write_text(shipped_modules()["tabular_classifier"].read_text())
    (tmp_path / "my_pipelines.py").write_text(OWN_PIPELINES)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TRAINWRIGHT_HOME": str(tmp_path / "home"), "TF_CPP_MIN_LOG_LEVEL": "2"}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_component_has_its_place_in_the_order() -> None:
    assert {path.parent.name for path in COMPONENTS.glob("*/component.py")} == set(IN_ORDER)


@pytest.mark.parametrize("name", ["README.md", "components/README.md", "pipelines/README.md", "CONTRIBUTING.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert targets
    for target in targets:
        file, _, place = target.partition("#")
        found = (ROOT / name).parent / file if file else ROOT / name
        assert found.exists(), target
        assert not place or place in anchors(found.read_text(encoding="utf-8")), target


def test_the_map_of_components_has_the_ports_of_each() -> None:
    rows = re.findall(r"^\| \[([\w-]+)\]\(trainwright_components/(\w+)/README\.md\) \|", MAP, re.MULTILINE)
    assert [name.replace("-", "_") for name, _ in rows] == [folder for _, folder in rows]
    assert {folder for _, folder in rows} == set(IN_ORDER)
    for name, folder in rows:
        spec = getattr(importlib.import_module(f"trainwright_components.{folder}.component"), folder).component_spec
        [row] = [line for line in MAP.splitlines() if line.startswith(f"| [{name}]")]
        _, _, _, inputs, outputs, _ = row.split("|")
        assert re.findall(r"`(\w+)`", inputs) == list(spec.inputs)
        assert re.findall(r"`(\w+)`", outputs) == list(spec.outputs or ())


def test_every_trainwright_command_in_the_readme_exists() -> None:
    from trainwright_pipelines.cli.main import main

    names = set(re.findall(r"\btrainwright ([a-z]+)\b", README))
    assert names
    for name in names:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0, name


def test_the_pipeline_snippets_make_a_pipeline(tmp_path: Path) -> None:
    imports = f"from trainwright.components import {', '.join(IN_ORDER)}"
    body = "\n".join(snippets(0).values()).replace("\n", "\n    ")
    source = f"""
from kfp import compiler, dsl
{imports}

@dsl.pipeline(name="documented")
def documented(module_uri: str):
    module = dsl.importer(artifact_uri=module_uri, artifact_class=dsl.Artifact)
    {body}

compiler.Compiler().compile(documented, "documented.yaml")

from my_pipelines import nightly

compiler.Compiler().compile(nightly, "nightly.yaml")
"""
    (tmp_path / "documented.py").write_text(source)
    (tmp_path / "my_pipelines.py").write_text(OWN_PIPELINES)
    run([sys.executable, "documented.py"], tmp_path, dict(os.environ))
    text = (tmp_path / "documented.yaml").read_text()
    assert [name for name in IN_ORDER if f"comp-{name.replace('_', '-')}" not in text] == []
    own = (tmp_path / "nightly.yaml").read_text()
    assert [name for name in ("drop-repeated-rows", "prepare-data", "evaluate") if f"comp-{name}" not in own] == []


@pytest.mark.slow
def test_the_python_snippets_run_one_after_the_other(tmp_path: Path, environment: dict[str, str]) -> None:
    body = "\n".join(snippets(1).values()).replace("\n", "\n    ")
    (tmp_path / "documented.py").write_text(f'if __name__ == "__main__":\n    {body}\n')
    try:
        output = run([sys.executable, "documented.py"], tmp_path, environment)
    finally:
        run(["trainwright", "serve", "stop"], tmp_path, {**environment, "TRAINWRIGHT_HOME": str(tmp_path / "home")})
    assert re.search(r"http://127\.0\.0\.1:\d+/v1/models/customers", output)
    assert (tmp_path / "predictions").is_dir()


def test_the_run_on_kubeflow_is_complete_and_the_same_in_the_readme_and_in_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No test can send it, since it needs a host."""
    from trainwright_pipelines.cli.main import main

    [example] = [block for block in blocks(README, "text") if "--target kubeflow" in block]
    words = shlex.split(example)
    options = {after.partition("=")[0] for word, after in itertools.pairwise(words) if word == "--option"}
    assert options == {"host", "images", "pipeline_root"}
    assert {"serving.enabled=false", "run", "train_and_deploy"} <= set(words)
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert " ".join(words) in " ".join(shlex.split(capsys.readouterr().out.partition("Examples:")[2], comments=True))


@pytest.mark.slow
def test_the_readmes_commands_run_one_after_the_other(tmp_path: Path, environment: dict[str, str]) -> None:
    setup = [block for block in blocks(README, "bash") if "pip install" in block]
    commands = [block for block in blocks(README, "bash") if block not in setup]
    assert len(setup) == 2
    outputs = []
    try:
        for block in commands:
            for line in block.strip().splitlines():
                outputs.append(run(["bash", "-ec", line], tmp_path, environment))  # noqa: PERF401  a failure tells which
    finally:
        run(["trainwright", "serve", "stop"], tmp_path, environment)
    assert any("http://127.0.0.1:" in output for output in outputs)


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "package", ["components/trainwright_components", "pipelines/trainwright_pipelines"], ids=["components", "pipelines"]
)
def test_the_rooms_of_contributing_are_those_of_the_package(package: str) -> None:
    """All of them, each once, and on the floors of the contract, from the upper to the ground."""
    table = CONTRIBUTING.partition(f"`{package}/`:\n")[2].partition("| --- |")[2].partition("\n\n")[0]
    listed = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.strip().splitlines() if row.count("|") > 2]
    rooms = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert sorted(itertools.chain(*listed)) == sorted(rooms - {"__init__"})
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    [floors] = [
        each["layers"] for each in tools["importlinter"]["contracts"] if each.get("containers") == [Path(package).name]
    ]
    height = {room: -at for at, floor in enumerate(floors) for room in re.findall(r"\w+", floor)}
    heights = [height[room] for row in listed for room in row if room in height]  # examples are no package
    assert heights == sorted(heights, reverse=True)


def test_what_contributing_says_to_look_at_is_there() -> None:
    rows = CONTRIBUTING.partition("## To add one\n")[2].partition("| --- |")[2].partition("\n\n")[0].splitlines()[1:]
    assert rows
    for row in rows:
        _, _, *cells, contract, _ = [cell.strip().strip("`") for cell in row.split("|")]
        roots = (COMPONENTS, ROOT / "pipelines" / "trainwright_pipelines")
        tests = (ROOT / "tests" / "components", ROOT / "tests" / "pipelines")
        for cell, folders in [*((cell, roots) for cell in cells), (contract, tests)]:
            file, _, name = cell.partition(":")
            if file == "none":
                continue
            [found] = [folder / file for folder in folders if (folder / file).is_file()]
            assert re.search(rf"^(class )?{name}\b", found.read_text(encoding="utf-8"), re.MULTILINE), cell
