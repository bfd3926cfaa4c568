"""The main job as a new user runs it, and what the screen shows at its end."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.model_server.operation.control import stop_server

ONE_MODE = ("--set", "quantization.modes=[dynamic_range]")


@pytest.fixture
def served(home: Path) -> Iterator[Path]:
    yield home
    stop_server(home)


@pytest.mark.slow
def test_the_main_job_ends_with_a_served_model_and_says_how_to_use_it(
    trainwright: Callable[..., Any], served: Path
) -> None:
    outcome = trainwright("run", "train_and_deploy", *ONE_MODE)
    assert outcome.code == 0, outcome.err
    screen = outcome.out
    accuracy = re.search(r"^test accuracy +(0\.\d+)  \(baseline 0\.\d+: majority class\)$", screen, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 0.95
    assert re.search(r"^TFLite model +[\d.]+ kB  \(dynamic_range, test accuracy 0\.\d+\)$", screen, re.MULTILINE)
    assert re.search(r"^served at +http://127\.0\.0\.1:\d+/v1/models/digits  \(version 1\)$", screen, re.MULTILINE)
    assert re.search(r"^stop serving +trainwright serve stop$", screen, re.MULTILINE)
    page = re.search(r"^page +(.*)$", screen, re.MULTILINE)
    assert page
    assert "Confusion matrix" in Path(page[1]).read_text()
    curl = re.search(r"^ask it +(curl .*)$", screen, re.MULTILINE)
    assert curl
    answer = subprocess.run(["sh", "-c", curl[1]], capture_output=True, text=True, check=True).stdout
    assert "predictions" in json.loads(answer)

    assert json.loads(trainwright("serve", "status", "--json").out)["models"][0]["versions"] == {"1": "AVAILABLE"}

    again = json.loads(trainwright("run", "train_and_deploy", *ONE_MODE, "--json").out)
    cached = {step["step"].rpartition("/")[2] for step in again["steps"] if step["is_cached"]}
    assert {"prepare-data", "train-distributed", "export-savedmodel", "quantize-tflite"} <= cached
    assert again["headlines"]["version"] == 1

    third = json.loads(trainwright("run", "train_and_deploy", *ONE_MODE, "--json").out)
    cached = {step["step"].rpartition("/")[2] for step in third["steps"] if step["is_cached"]}
    assert "evaluate" in cached  # against the version that the first run has published

    assert trainwright("run", "train_and_deploy", "--set", "serving.enabled=false", "--set", "params.units=8").code == 0
    example = json.loads(trainwright("predict", "digits", "--example", "--json").out)
    assert example["version"] == 1
    probabilities = [answer[0]["probabilities"] for answer in (example["predictions"], example["expected"])]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-5)

    scored = trainwright("run", "batch_score", "--set", "model=digits", "--set", "source=digits")
    assert scored.code == 0, scored.err
    predictions = re.search(r"^predictions +(.*)  \(1,797 rows\)$", scored.out, re.MULTILINE)
    assert predictions
    assert len(Path(predictions[1]).read_text().splitlines()) == 1797
    assert trainwright("serve", "stop").out == "stopped\n"
