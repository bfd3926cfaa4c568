"""Every example that a help shows: its words are taken by the command, and all that can be are run in one home."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import keras
import pytest
from PIL import Image
from tests.documents.test_documents import OWN_PIPELINES, write_customers

from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_pipelines.cli.lazy import ExampleCommand, LazyGroup
from trainwright_pipelines.cli.main import cli

SUMS = Path(__file__).parent / "sums.py"
TIMEOUT_S = 900
NOT_RUN = {
    "run train_and_deploy --target": "needs a host",
    "submit train_and_deploy --target": "needs a project",
    "--artifact rows=gs://": "needs a bucket; test_downloads.py has one",
    "rows=container": "needs an image of a registry; isolation/test_containers.py has one",
    "--from clean": "needs a run of that pipeline; engine/test_repeating.py has one",
    "tensorflow_model_server": "is another server",
    "--rest-port": "takes a fixed port",
    "--pdb": "waits for a person",
    "rose.jpg": "needs a model of images; test_predict.py has one",
    "tensorboard": "serves until it is stopped; test_tensorboard.py does",
}
MODEL = """
import keras
DEFAULT_PARAMS = {"units": 8}
def build_model(context):
    layers = [keras.Input((8, 8), name="image"), keras.layers.Flatten(), keras.layers.Dense(context.params["units"])]
    model = keras.Sequential([*layers, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""
FIRST = ("trainwright new ", "trainwright run ", "trainwright serve start", "trainwright predict ")
LAST = ("trainwright runs delete ", "trainwright gc", "trainwright serve stop")


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, LazyGroup):
        for name in command.table:
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from _commands(found)


def _examples() -> list[str]:
    """The command lines, whole, and without what is said beside them."""
    found: dict[str, None] = {}
    for command in _commands(cli):
        assert isinstance(command, ExampleCommand | LazyGroup)
        for line in re.sub(r"\\\n\s*", "", command.examples).strip().splitlines():
            found[re.split(r"\s{3,}", line)[0]] = None
    return list(found)


@pytest.mark.parametrize("example", _examples())
def test_the_words_of_an_example_are_taken_by_its_command(example: str) -> None:
    program, *words = shlex.split(example)
    assert program == "trainwright"
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    command.make_context(program, words)


def _order(example: str) -> int:
    """Projects before runs, runs before what looks at them, a server before what asks it, and the end of all last."""
    for place, words in enumerate((*FIRST, "", *LAST)):
        if words and example.startswith(words):
            return place
    return len(FIRST)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_the_examples_run_one_after_another_in_one_home(tmp_path: Path) -> None:
    write_customers(tmp_path)
    (tmp_path / "my_pipelines.py").write_text(OWN_PIPELINES)
    (tmp_path / "servo.data").write_text("".join(f"A,{i % 4},{i % 3},{i % 5},{i * 0.37:.2f}\n" for i in range(200)))
    (tmp_path / "rows.csv").write_text("age,city\n42,Bern\n20,Lyon\n")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": [[0.0] * 8] * 8}) + "\n")
    for name in ("rose/1", "rose/2", "daisy/1", "daisy/2"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), "red" if "rose" in name else "white").save(tmp_path / "photos" / f"{name}.png")
    prepare_data("digits", tmp_path / "dataset")
    (tmp_path / "model.py").write_text(MODEL)
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "sigmoid")]).save(tmp_path / "model.keras")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TRAINWRIGHT_HOME": str(tmp_path / "home"), "BROWSER": "true"}

    def call(words: list[str]) -> str:
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def begin_waiting(number: int) -> tuple[str, Path]:
        """A run whose step waits, and where it waits."""
        meeting = tmp_path / f"meeting-{number}"
        meeting.mkdir()
        said = call(["trainwright", "submit", f"{SUMS}:waiting", "--set", f"folder={meeting}"])
        return said.split()[1], meeting

    def runs_for(example: str, number: int) -> dict[str, str]:
        """Runs that the example can be done with."""
        if "cancel" in example or "resume" in example:
            run, meeting = begin_waiting(number)
            if "resume" in example:
                call(["trainwright", "runs", "cancel", run])
                call(["trainwright", "runs", "logs", run, "--follow"])
                (meeting / "go").touch()
            return {"RUN": run}
        if "delete" in example:
            made = [call(["trainwright", "run", f"{SUMS}:sums", "--set", "x=1", "--json"]) for _ in range(2)]
            return dict(zip(("RUN", "OTHER_RUN"), (str(json.loads(each)["id"]) for each in made), strict=True))
        listed = json.loads(call(["trainwright", "runs", "list", "--state", "succeeded", "--json"]))
        found = [str(each["id"]) for each in listed if each["pipeline"] == "train-and-deploy"]
        return {"RUN": found[0], "OTHER_RUN": found[-1]}

    try:
        for number, example in enumerate(sorted(_examples(), key=_order)):
            words = shlex.split(example)
            if not any(word in example for word in NOT_RUN):
                needs_runs = "RUN" in example or "resume" in example
                runs = runs_for(example, number) if needs_runs else {}
                call([runs.get(word, word) for word in words])
            for written in tmp_path.glob("*/params.yaml"):  # a drill of three workers would take minutes
                written.write_text(re.sub(r"(?m)^  epochs: .*", "  epochs: 40", written.read_text()))
    finally:
        call(["trainwright", "serve", "stop"])
