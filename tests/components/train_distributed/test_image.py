"""A cluster from the image of `Dockerfile`, with nothing of this machine in it but module, dataset and output."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainwright_components
from trainwright_components.errors import TrainingFailed
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.result import TrainingResult
from trainwright_components.training.trained_model import TrainedModel

pytestmark = pytest.mark.slow

NET = Path(__file__).parent / "modules" / "net.py"
REPOSITORY = Path(__file__).parents[3]
BASE_VARIABLE = "TRAINWRIGHT_TEST_BASE_IMAGE"
TRAINING = {"epochs": 4, "batch_size": 10, "seed": 2, "checkpoint_every_steps": 4}


@pytest.fixture(scope="module")
def product_image() -> Iterator[str]:
    """The image that `Dockerfile` makes of the last commit."""
    base = os.environ.get(BASE_VARIABLE)
    if not base:
        pytest.skip(f"{BASE_VARIABLE} names no image with Python to build on: the product's image is left out")
    image = f"trainwright-test-cpu:{os.getpid()}"
    dockerfile = (Path(trainwright_components.__file__).parent / "Dockerfile").relative_to(REPOSITORY)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    build = ["docker", "build", "--file", str(dockerfile), "--tag", image, "--build-arg", f"BASE_IMAGE={base}", "-"]
    done = subprocess.run(build, input=archive.stdout, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    yield image
    subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=True)


def train_in(image: str, dataset: Path, folder: Path, **params: Any) -> TrainingResult:
    cluster = {"launcher": "docker", "worker": {"replicas": 2, "image": image}}
    return train_model(dataset, NET, folder / "model", training=TRAINING, cluster=cluster, params=params)


def test_a_cluster_of_the_image_gives_what_one_process_gives_and_survives_a_kill(
    product_image: str, small_dataset: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "two" / "model" / "marker"
    two = train_in(product_image, small_dataset, tmp_path / "two", member="worker-1", step=10, marker=str(marker))
    assert [restart.reason for restart in two.restarts] == ["worker-1 ended: killed by signal 9"]
    one = train_model(small_dataset, NET, tmp_path / "one", training=TRAINING)
    pairs = [TrainedModel.load(result.model_folder).model.get_weights() for result in (one, two)]
    assert max(float(np.abs(ours - theirs).max()) for ours, theirs in zip(*pairs, strict=True)) < 1e-6
    owners = {path.stat().st_uid for path in two.model_folder.rglob("*")}
    assert owners == {os.getuid()}


def test_an_image_of_another_version_says_so(
    product_image: str, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwright_components.cluster.launchers.docker.version", lambda _: "9.9")
    with pytest.raises(
        TrainingFailed, match=r"this image has trainwright [\d.]+, but 9\.9 started it: build the image"
    ):
        train_in(product_image, small_dataset, tmp_path)
